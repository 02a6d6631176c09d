"""The network: closed by default in both directions, with a private way to Google's APIs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.compute_firewall import (
    ComputeFirewall,
    ComputeFirewallAllow,
    ComputeFirewallDeny,
    ComputeFirewallLogConfig,
)
from cdktf_cdktf_provider_google.compute_network import ComputeNetwork
from cdktf_cdktf_provider_google.compute_router import ComputeRouter
from cdktf_cdktf_provider_google.compute_router_nat import (
    ComputeRouterNat,
    ComputeRouterNatLogConfig,
    ComputeRouterNatSubnetwork,
)
from cdktf_cdktf_provider_google.compute_subnetwork import (
    ComputeSubnetwork,
    ComputeSubnetworkLogConfig,
    ComputeSubnetworkSecondaryIpRange,
)
from cdktf_cdktf_provider_google.dns_managed_zone import (
    DnsManagedZone,
    DnsManagedZonePrivateVisibilityConfig,
    DnsManagedZonePrivateVisibilityConfigNetworks,
)
from cdktf_cdktf_provider_google.dns_policy import DnsPolicy, DnsPolicyNetworks
from cdktf_cdktf_provider_google.dns_record_set import DnsRecordSet
from constructs import Construct

from modelyard.naming import Names
from modelyard.spec.environment import Network as Ranges

PODS = "pods"
SERVICES = "services"
EVERYWHERE = "0.0.0.0/0"
# restricted.googleapis.com: only APIs that VPC Service Controls can guard; the same everywhere.
GOOGLE_APIS = "199.36.153.4/30"
_GOOGLE_ADDRESSES = ["199.36.153.4", "199.36.153.5", "199.36.153.6", "199.36.153.7"]
# Where Google's load balancers probe from.
HEALTH_CHECKS = ("35.191.0.0/16", "130.211.0.0/22")
UNPRIVILEGED = "1024-65535"


@dataclass(frozen=True)
class _Rule:
    """One firewall rule; the ranges are sources of INGRESS and destinations of EGRESS."""

    direction: str
    ranges: Sequence[str]
    allowed: Mapping[str, Sequence[str]]
    """Ports per protocol; none given for a protocol: all of it. Empty: the rule denies everything."""


class Network(Construct):
    """A VPC network: a subnet for the cluster, one for the internal gateway's proxies, NAT and private DNS.

    Traffic that no rule names is denied and logged, in and out. The nodes' way to Google's APIs is
    restricted.googleapis.com, also for container images. NAT serves what `egress` lets out.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modelyard.spec.environment import Network as Ranges
        from modules.network import Network

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        Network(stack, "network", names=names, ranges=Ranges(), labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment.
        ranges: address ranges.
        labels: labels of what can carry some.
        egress: address ranges outside that nodes may reach on port 443, by a name for each group of them.
        depends_on: what must be there before, such as the Compute and DNS APIs.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        ranges: Ranges,
        labels: Mapping[str, str],
        egress: Mapping[str, Sequence[str]] | None = None,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self._names = names
        self.network = ComputeNetwork(
            self,
            "network",
            project=names.project,
            name=names.network,
            description="Model serving; closed by default.",
            auto_create_subnetworks=False,
            routing_mode="REGIONAL",
            depends_on=list(depends_on),
        )
        self._subnets(ranges)
        self._nat()
        self._firewall(ranges, egress or {})
        self._dns(labels)

    def _subnets(self, ranges: Ranges) -> None:
        self.nodes = ComputeSubnetwork(
            self,
            "nodes",
            project=self._names.project,
            region=self._names.region,
            name=self._names.subnet,
            network=self.network.id,
            ip_cidr_range=ranges.nodes,
            secondary_ip_range=[
                ComputeSubnetworkSecondaryIpRange(range_name=PODS, ip_cidr_range=ranges.pods),
                ComputeSubnetworkSecondaryIpRange(range_name=SERVICES, ip_cidr_range=ranges.services),
            ],
            private_ip_google_access=True,
            stack_type="IPV4_ONLY",
            log_config=ComputeSubnetworkLogConfig(
                aggregation_interval="INTERVAL_10_MIN", flow_sampling=0.5, metadata="INCLUDE_ALL_METADATA"
            ),
        )
        # The internal gateway's proxies get their addresses here; such a subnet has no flow logs.
        ComputeSubnetwork(
            self,
            "proxies",
            project=self._names.project,
            region=self._names.region,
            name=f"{self._names.network}-proxies",
            network=self.network.id,
            ip_cidr_range=ranges.proxies,
            purpose="REGIONAL_MANAGED_PROXY",
            role="ACTIVE",
        )

    def _nat(self) -> None:
        router = ComputeRouter(
            self,
            "router",
            project=self._names.project,
            region=self._names.region,
            name=f"{self._names.network}-router",
            network=self.network.id,
        )
        ComputeRouterNat(
            self,
            "nat",
            project=self._names.project,
            region=self._names.region,
            name=f"{self._names.network}-nat",
            router=router.name,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
            subnetwork=[
                ComputeRouterNatSubnetwork(name=self.nodes.id, source_ip_ranges_to_nat=["ALL_IP_RANGES"])
            ],
            log_config=ComputeRouterNatLogConfig(enable=True, filter="ALL"),
        )

    def _firewall(self, ranges: Ranges, egress: Mapping[str, Sequence[str]]) -> None:
        inside, control_plane = [ranges.nodes, ranges.pods], [ranges.control_plane]
        rules = {
            "deny-ingress": _Rule("INGRESS", [EVERYWHERE], {}),
            "deny-egress": _Rule("EGRESS", [EVERYWHERE], {}),
            "allow-ingress-cluster": _Rule("INGRESS", inside, {"all": []}),
            "allow-ingress-control-plane": _Rule("INGRESS", control_plane, {"tcp": ["443", "10250"]}),
            "allow-ingress-proxies": _Rule("INGRESS", [ranges.proxies], {"tcp": [UNPRIVILEGED]}),
            "allow-ingress-health-checks": _Rule("INGRESS", HEALTH_CHECKS, {"tcp": [UNPRIVILEGED]}),
            "allow-egress-cluster": _Rule("EGRESS", [*inside, ranges.services], {"all": []}),
            # The API, and the tunnel the control plane reaches nodes through.
            "allow-egress-control-plane": _Rule("EGRESS", control_plane, {"tcp": ["443", "8132"]}),
            "allow-egress-google-apis": _Rule("EGRESS", [GOOGLE_APIS], {"tcp": ["443"]}),
        }
        for name, to in egress.items():
            rules[f"allow-egress-{name}"] = _Rule("EGRESS", to, {"tcp": ["443"]})
        for name, rule in rules.items():
            self._firewall_rule(name, rule)

    def _firewall_rule(self, name: str, rule: _Rule) -> None:
        incoming = rule.direction == "INGRESS"
        ComputeFirewall(
            self,
            name,
            project=self._names.project,
            name=f"{self._names.network}-{name}",
            network=self.network.id,
            direction=rule.direction,
            priority=1000 if rule.allowed else 65534,
            allow=[
                ComputeFirewallAllow(protocol=protocol, ports=list(ports) or None)
                for protocol, ports in rule.allowed.items()
            ]
            or None,
            deny=None if rule.allowed else [ComputeFirewallDeny(protocol="all")],
            source_ranges=list(rule.ranges) if incoming else None,
            destination_ranges=None if incoming else list(rule.ranges),
            log_config=ComputeFirewallLogConfig(metadata="INCLUDE_ALL_METADATA"),
        )

    def _dns(self, labels: Mapping[str, str]) -> None:
        """Answer Google's API and registry names with the restricted addresses, and log what is asked."""
        DnsPolicy(
            self,
            "dns-policy",
            project=self._names.project,
            name=self._names.network,
            description="Logs DNS queries.",
            enable_logging=True,
            networks=[DnsPolicyNetworks(network_url=self.network.id)],
        )
        # Zone -> the name in it that has the addresses; all other names in the zone are aliases of that one.
        zones = {domain: domain for domain in ("gcr.io.", "pkg.dev.")}
        zones["googleapis.com."] = "restricted.googleapis.com."
        for domain, target in zones.items():
            short = domain.rstrip(".").replace(".", "-")
            zone = DnsManagedZone(
                self,
                f"zone-{short}",
                project=self._names.project,
                name=f"{self._names.network}-{short}",
                description=f"{domain} through restricted.googleapis.com.",
                dns_name=domain,
                visibility="private",
                labels=dict(labels),
                private_visibility_config=DnsManagedZonePrivateVisibilityConfig(
                    networks=[DnsManagedZonePrivateVisibilityConfigNetworks(network_url=self.network.id)]
                ),
            )
            records = {
                "addresses": ("A", target, _GOOGLE_ADDRESSES),
                "aliases": ("CNAME", f"*.{domain}", [target]),
            }
            for record, (kind, name, data) in records.items():
                DnsRecordSet(
                    self,
                    f"{record}-{short}",
                    project=self._names.project,
                    managed_zone=zone.name,
                    name=name,
                    type=kind,
                    ttl=300,
                    rrdatas=data,
                )
