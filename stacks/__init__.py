"""What is deployed: each stack is one Terraform state and one blast radius."""
