"""The REST image: answers rows of named features and the Open Inference Protocol, and logs first."""
