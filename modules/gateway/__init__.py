"""The one way in to the models: an internal HTTPS gateway, never on the internet."""

from collections.abc import Mapping, Sequence

from cdktf import ITerraformDependable, TerraformOutput
from cdktf_cdktf_provider_google.certificate_manager_certificate import (
    CertificateManagerCertificate,
    CertificateManagerCertificateManaged,
)
from cdktf_cdktf_provider_google.certificate_manager_dns_authorization import (
    CertificateManagerDnsAuthorization,
)
from cdktf_cdktf_provider_google.compute_address import ComputeAddress
from cdktf_cdktf_provider_google.dns_managed_zone import (
    DnsManagedZone,
    DnsManagedZonePrivateVisibilityConfig,
    DnsManagedZonePrivateVisibilityConfigNetworks,
)
from cdktf_cdktf_provider_google.dns_record_set import DnsRecordSet
from cdktf_cdktf_provider_kubernetes.manifest import Manifest
from constructs import Construct

from modelyard.naming import Names

# Namespaces with this label may attach routes.
ACCESS_LABEL = "modelyard.dev/gateway-access"


class GatewayAddress(Construct):
    """What the gateway is reached by: an internal address, a private name, a certificate Google renews.

    The certificate is publicly trusted, so that callers need no further root. For that the organisation
    proves that it owns the name, once: it puts the record of output `gateway-certificate-record` into its
    public DNS. The name itself is answered in the network alone.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.gateway import GatewayAddress

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        GatewayAddress(stack, "gateway", names=names, host="models.dev.example.com",
                       labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment, whose network and subnet it is in.
        host: host name of the gateway.
        labels: labels of everything in it.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, names: Names, host: str, labels: Mapping[str, str]
    ) -> None:
        super().__init__(scope, construct_id)
        address = ComputeAddress(
            self,
            "address",
            project=names.project,
            region=names.region,
            name=names.gateway_address,
            description="Internal gateway of the models.",
            address_type="INTERNAL",
            purpose="SHARED_LOADBALANCER_VIP",
            subnetwork=names.subnet_path,
            labels=dict(labels),
        )
        zone = DnsManagedZone(
            self,
            "zone",
            project=names.project,
            name=names.gateway_address,
            description="The internal gateway of the models.",
            dns_name=f"{host}.",
            visibility="private",
            labels=dict(labels),
            private_visibility_config=DnsManagedZonePrivateVisibilityConfig(
                networks=[DnsManagedZonePrivateVisibilityConfigNetworks(network_url=names.network_path)]
            ),
        )
        DnsRecordSet(
            self,
            "record",
            project=names.project,
            managed_zone=zone.name,
            name=f"{host}.",
            type="A",
            ttl=300,
            rrdatas=[address.address],
        )
        authorization = CertificateManagerDnsAuthorization(
            self,
            "authorization",
            project=names.project,
            location=names.region,
            name=names.gateway_address,
            description=f"Proof that the organisation owns {host}.",
            domain=host,
            # The only kind that a regional certificate takes.
            type="PER_PROJECT_RECORD",
            labels=dict(labels),
        )
        CertificateManagerCertificate(
            self,
            "certificate",
            project=names.project,
            location=names.region,
            name=names.gateway_address,
            description=f"Certificate of {host}, renewed by Google.",
            managed=CertificateManagerCertificateManaged(
                domains=[host], dns_authorizations=[authorization.id]
            ),
            labels=dict(labels),
        )
        TerraformOutput(
            self,
            "certificate-record",
            value=authorization.interpolation_for_attribute("dns_resource_record"),
            description=f"Put this record into the public DNS once: it proves ownership of {host}.",
        ).override_logical_id("gateway-certificate-record")


class Gateway(Construct):
    """The internal HTTPS gateway that all REST models share.

    Routes of namespaces labelled `modelyard.dev/gateway-access: "true"` attach to it; there is no plain HTTP.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.gateway import Gateway
        from modules.kubernetes import provider

        stack = TerraformStack(App(), "example")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        provider(stack, names)
        Gateway(stack, "gateway", names=names, host="models.dev.example.com", labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment; its `gateway_namespace` must exist.
        host: host name that it answers to.
        labels: labels of the gateway.
        depends_on: what must be there before: the namespace.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        host: str,
        labels: Mapping[str, str],
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        listener = {
            "name": "https",
            "protocol": "HTTPS",
            "port": 443,
            "hostname": host,
            "tls": {
                "mode": "Terminate",
                "options": {"networking.gke.io/cert-manager-certs": names.gateway_address},
            },
            "allowedRoutes": {
                "kinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}],
                "namespaces": {"from": "Selector", "selector": {"matchLabels": {ACCESS_LABEL: "true"}}},
            },
        }
        Manifest(
            self,
            "gateway",
            manifest={
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": {
                    "name": names.gateway,
                    "namespace": names.gateway_namespace,
                    "labels": dict(labels),
                },
                "spec": {
                    "gatewayClassName": "gke-l7-rilb",
                    "addresses": [{"type": "NamedAddress", "value": names.gateway_address}],
                    "listeners": [listener],
                },
            },
            depends_on=list(depends_on),
        )
