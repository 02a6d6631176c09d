"""The ways out of a namespace that pods need: names, identities and Google's APIs."""

from collections.abc import Sequence

from cdktf_cdktf_provider_kubernetes.network_policy_v1 import (
    NetworkPolicyV1SpecEgress,
    NetworkPolicyV1SpecEgressPorts,
    NetworkPolicyV1SpecEgressTo,
    NetworkPolicyV1SpecEgressToIpBlock,
    NetworkPolicyV1SpecEgressToNamespaceSelector,
)

# restricted.googleapis.com and private.googleapis.com: Google's APIs without the internet.
GOOGLE_APIS = ("199.36.153.4/30", "199.36.153.8/30")
METADATA_SERVER = ("169.254.169.252/32", "169.254.169.254/32")
# The node-local DNS cache, and Cloud DNS, which resolves for Autopilot clusters at the metadata server.
RESOLVERS = ("169.254.20.10/32", "169.254.169.254/32")


def to_ranges(ranges: Sequence[str], ports: Sequence[str]) -> NetworkPolicyV1SpecEgress:
    """Return the rule that opens TCP `ports` of address ranges."""
    return NetworkPolicyV1SpecEgress(
        to=[_block(cidr) for cidr in ranges],
        ports=[NetworkPolicyV1SpecEgressPorts(port=port, protocol="TCP") for port in ports],
    )


def to_google() -> list[NetworkPolicyV1SpecEgress]:
    """Return the rules that open DNS, the metadata server and Google's APIs."""
    dns = NetworkPolicyV1SpecEgress(
        to=[
            NetworkPolicyV1SpecEgressTo(
                namespace_selector=NetworkPolicyV1SpecEgressToNamespaceSelector(
                    match_labels={"kubernetes.io/metadata.name": "kube-system"}
                )
            ),
            *(_block(cidr) for cidr in RESOLVERS),
        ],
        ports=[NetworkPolicyV1SpecEgressPorts(port="53", protocol=protocol) for protocol in ("TCP", "UDP")],
    )
    return [dns, to_ranges(METADATA_SERVER, ["80", "988"]), to_ranges(GOOGLE_APIS, ["443"])]


def _block(cidr: str) -> NetworkPolicyV1SpecEgressTo:
    return NetworkPolicyV1SpecEgressTo(ip_block=NetworkPolicyV1SpecEgressToIpBlock(cidr=cidr))
