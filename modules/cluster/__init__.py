"""The shared GKE cluster: private, patched by Google, and reached through Connect Gateway alone."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cdktf_cdktf_provider_google import container_cluster as gke
from cdktf_cdktf_provider_google import container_node_pool as pools
from cdktf_cdktf_provider_google.artifact_registry_repository_iam_member import (
    ArtifactRegistryRepositoryIamMember,
)
from cdktf_cdktf_provider_google.project_iam_member import ProjectIamMember
from cdktf_cdktf_provider_google.service_account import ServiceAccount
from constructs import Construct

from modelyard.naming import Names
from modelyard.spec.environment import Cluster as ClusterSpec
from modelyard.spec.environment import NodePool
from modules.network import PODS, SERVICES

NODES = "nodes"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
# A Saturday: the first day of the recurring maintenance window.
_FIRST_DAY = "2025-01-04"
_WINDOW = timedelta(hours=6)
_LOGS = ["SYSTEM_COMPONENTS", "WORKLOADS", "APISERVER", "CONTROLLER_MANAGER", "SCHEDULER"]
_METRICS = [
    "SYSTEM_COMPONENTS",
    "APISERVER",
    "SCHEDULER",
    "CONTROLLER_MANAGER",
    "STORAGE",
    "HPA",
    "POD",
    "DAEMONSET",
    "DEPLOYMENT",
    "CADVISOR",
    "KUBELET",
]
# Machine families that take Hyperdisk alone.
_HYPERDISK_FAMILIES = ("c4", "n4", "c4a", "c4d", "x4")


class Cluster(Construct):
    """A private regional cluster, in Autopilot or Standard mode, that no deletion by Terraform can reach.

    It has no public endpoint. People and pipelines reach its API through Connect Gateway, to which the
    cluster belongs as a member of the project's fleet. Nodes have an identity of their own that may write
    logs and metrics and pull images. Secrets and boot disks are encrypted with the customer key `cluster`.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modelyard.spec.environment import Cluster as Settings
        from modules.cluster import Cluster

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        Cluster(stack, "cluster", names=names, settings=Settings(), control_plane="10.10.16.0/28",
                callers={"nodes": "10.10.0.0/20"}, organization="example.com", labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment, whose network, keys and registry it uses.
        settings: mode, release channel, maintenance window, node pools.
        control_plane: address range of the control plane.
        callers: address ranges that may call the control plane's private endpoint, by name.
        organization: domain whose groups the cluster knows, those in `gke-security-groups@<organization>`.
        labels: labels of the cluster, its nodes and their disks, which cost allocation counts by.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        settings: ClusterSpec,
        control_plane: str,
        callers: Mapping[str, str],
        organization: str,
        labels: Mapping[str, str],
    ) -> None:
        super().__init__(scope, construct_id)
        self._names = names
        self._labels = dict(labels)
        self._account = names.service_account(NODES)
        self._node_identity()
        mode = self._autopilot() if settings.mode == "autopilot" else self._standard()
        self.cluster = gke.ContainerCluster(
            self,
            "cluster",
            project=names.project,
            location=names.region,
            name=names.cluster,
            description="Serves the models of all teams.",
            resource_labels=self._labels,
            deletion_protection=True,
            enable_legacy_abac=False,
            network=names.network_path,
            subnetwork=names.subnet_path,
            networking_mode="VPC_NATIVE",
            datapath_provider="ADVANCED_DATAPATH",
            ip_allocation_policy=gke.ContainerClusterIpAllocationPolicy(
                cluster_secondary_range_name=PODS, services_secondary_range_name=SERVICES, stack_type="IPV4"
            ),
            private_cluster_config=gke.ContainerClusterPrivateClusterConfig(
                enable_private_nodes=True,
                enable_private_endpoint=True,
                master_ipv4_cidr_block=control_plane,
                master_global_access_config=gke.ContainerClusterPrivateClusterConfigMasterGlobalAccessConfig(
                    enabled=False
                ),
            ),
            master_authorized_networks_config=gke.ContainerClusterMasterAuthorizedNetworksConfig(
                cidr_blocks=[
                    gke.ContainerClusterMasterAuthorizedNetworksConfigCidrBlocks(
                        cidr_block=block, display_name=name
                    )
                    for name, block in callers.items()
                ],
                gcp_public_cidrs_access_enabled=False,
            ),
            fleet=gke.ContainerClusterFleet(project=names.project),
            master_auth=gke.ContainerClusterMasterAuth(
                client_certificate_config=gke.ContainerClusterMasterAuthClientCertificateConfig(
                    issue_client_certificate=False
                )
            ),
            authenticator_groups_config=gke.ContainerClusterAuthenticatorGroupsConfig(
                security_group=f"gke-security-groups@{organization}"
            ),
            anonymous_authentication_config=gke.ContainerClusterAnonymousAuthenticationConfig(mode="LIMITED"),
            rbac_binding_config=gke.ContainerClusterRbacBindingConfig(
                enable_insecure_binding_system_authenticated=False,
                enable_insecure_binding_system_unauthenticated=False,
            ),
            database_encryption=gke.ContainerClusterDatabaseEncryption(
                state="ENCRYPTED", key_name=names.key("cluster")
            ),
            binary_authorization=gke.ContainerClusterBinaryAuthorization(
                evaluation_mode="PROJECT_SINGLETON_POLICY_ENFORCE"
            ),
            security_posture_config=gke.ContainerClusterSecurityPostureConfig(mode="BASIC"),
            release_channel=gke.ContainerClusterReleaseChannel(channel=settings.release_channel),
            maintenance_policy=maintenance(settings.maintenance_start),
            gateway_api_config=gke.ContainerClusterGatewayApiConfig(channel="CHANNEL_STANDARD"),
            vertical_pod_autoscaling=gke.ContainerClusterVerticalPodAutoscaling(enabled=True),
            cost_management_config=gke.ContainerClusterCostManagementConfig(enabled=True),
            logging_config=gke.ContainerClusterLoggingConfig(enable_components=_LOGS),
            monitoring_config=gke.ContainerClusterMonitoringConfig(
                enable_components=_METRICS,
                managed_prometheus=gke.ContainerClusterMonitoringConfigManagedPrometheus(enabled=True),
            ),
            **mode,
        )
        for pool in settings.node_pools:
            self._node_pool(pool)

    def _node_identity(self) -> None:
        account = ServiceAccount(
            self,
            "node-account",
            project=self._names.project,
            account_id=self._names.service_account_id(NODES),
            display_name="cluster nodes",
            description="Writes logs and metrics and pulls images; models have identities of their own.",
        )
        member = f"serviceAccount:{self._account}"
        self._ready = [
            ProjectIamMember(
                self,
                "node-role",
                project=self._names.project,
                role="roles/container.defaultNodeServiceAccount",
                member=member,
                depends_on=[account],
            ),
            ArtifactRegistryRepositoryIamMember(
                self,
                "node-images",
                project=self._names.project,
                location=self._names.region,
                repository=self._names.image_repository,
                role="roles/artifactregistry.reader",
                member=member,
                depends_on=[account],
            ),
        ]

    def _autopilot(self) -> dict[str, Any]:
        """Return what only Autopilot takes; it sets by itself most of what Standard must be told."""
        return {
            "enable_autopilot": True,
            "cluster_autoscaling": gke.ContainerClusterClusterAutoscaling(
                auto_provisioning_defaults=gke.ContainerClusterClusterAutoscalingAutoProvisioningDefaults(
                    service_account=self._account,
                    oauth_scopes=SCOPES,
                    boot_disk_kms_key=self._names.key("cluster"),
                )
            ),
            "node_pool_auto_config": gke.ContainerClusterNodePoolAutoConfig(
                node_kubelet_config=gke.ContainerClusterNodePoolAutoConfigNodeKubeletConfig(
                    insecure_kubelet_readonly_port_enabled="FALSE"
                )
            ),
            "lifecycle": {"prevent_destroy": True},
            "depends_on": self._ready,
        }

    def _standard(self) -> dict[str, Any]:
        """Return what only Standard takes."""
        return {
            "workload_identity_config": gke.ContainerClusterWorkloadIdentityConfig(
                workload_pool=self._names.workload_pool
            ),
            "enable_shielded_nodes": True,
            "enable_intranode_visibility": True,
            # Dataplane V2 enforces network policies by itself; the older way stays off.
            "network_policy": gke.ContainerClusterNetworkPolicy(enabled=False),
            "service_external_ips_config": gke.ContainerClusterServiceExternalIpsConfig(enabled=False),
            "addons_config": gke.ContainerClusterAddonsConfig(
                http_load_balancing=gke.ContainerClusterAddonsConfigHttpLoadBalancing(disabled=False),
                horizontal_pod_autoscaling=gke.ContainerClusterAddonsConfigHorizontalPodAutoscaling(
                    disabled=False
                ),
                dns_cache_config=gke.ContainerClusterAddonsConfigDnsCacheConfig(enabled=True),
                gce_persistent_disk_csi_driver_config=(
                    gke.ContainerClusterAddonsConfigGcePersistentDiskCsiDriverConfig(enabled=True)
                ),
            ),
            "node_pool_defaults": gke.ContainerClusterNodePoolDefaults(
                node_config_defaults=gke.ContainerClusterNodePoolDefaultsNodeConfigDefaults(
                    insecure_kubelet_readonly_port_enabled="FALSE"
                )
            ),
            # The first pool lives for minutes, until the pools below replace it; it is as closed as they are.
            "remove_default_node_pool": True,
            "initial_node_count": 1,
            "node_config": self._node_config(gke, "ContainerClusterNodeConfig", {}),
            "lifecycle": {"prevent_destroy": True, "ignore_changes": ["node_config"]},
            "depends_on": self._ready,
        }

    def _node_pool(self, pool: NodePool) -> None:
        settings: dict[str, Any] = {
            "machine_type": pool.machine_type,
            "spot": pool.spot,
            "disk_type": disk_type(pool.machine_type),
            "disk_size_gb": 100,
            "labels": {"modelyard.dev/pool": pool.name},
            "resource_labels": self._labels,
            # Images are streamed, so that pods start before their image is there in full.
            "gcfs_config": pools.ContainerNodePoolNodeConfigGcfsConfig(enabled=True),
            "gvnic": pools.ContainerNodePoolNodeConfigGvnic(enabled=True),
        }
        if pool.gpu:
            settings["guest_accelerator"] = [
                pools.ContainerNodePoolNodeConfigGuestAccelerator(
                    type=pool.gpu.type,
                    count=pool.gpu.count,
                    gpu_driver_installation_config=(
                        pools.ContainerNodePoolNodeConfigGuestAcceleratorGpuDriverInstallationConfig(
                            gpu_driver_version="DEFAULT"
                        )
                    ),
                )
            ]
            # Only pods that ask for a GPU come here.
            settings["taint"] = [
                pools.ContainerNodePoolNodeConfigTaint(
                    key="nvidia.com/gpu", value="present", effect="NO_SCHEDULE"
                )
            ]
        pools.ContainerNodePool(
            self,
            f"pool-{pool.name}",
            project=self._names.project,
            location=self._names.region,
            node_locations=list(pool.zones) or None,
            name=pool.name,
            cluster=self.cluster.name,
            initial_node_count=pool.min_nodes,
            autoscaling=pools.ContainerNodePoolAutoscaling(
                min_node_count=pool.min_nodes,
                max_node_count=pool.max_nodes,
                location_policy="ANY" if pool.spot or pool.gpu else "BALANCED",
            ),
            management=pools.ContainerNodePoolManagement(auto_repair=True, auto_upgrade=True),
            upgrade_settings=pools.ContainerNodePoolUpgradeSettings(
                strategy="SURGE", max_surge=1, max_unavailable=0
            ),
            network_config=pools.ContainerNodePoolNetworkConfig(enable_private_nodes=True),
            node_config=self._node_config(pools, "ContainerNodePoolNodeConfig", settings),
            # The autoscaler owns the number of nodes; a change here would replace the pool.
            lifecycle={"ignore_changes": ["initial_node_count"]},
        )

    def _node_config(self, module: Any, prefix: str, settings: Mapping[str, Any]) -> Any:
        """Return how every node is, whichever of the two resources makes it."""
        return getattr(module, prefix)(
            image_type="COS_CONTAINERD",
            service_account=self._account,
            oauth_scopes=SCOPES,
            boot_disk_kms_key=self._names.key("cluster"),
            metadata={"disable-legacy-endpoints": "true"},
            shielded_instance_config=getattr(module, f"{prefix}ShieldedInstanceConfig")(
                enable_secure_boot=True, enable_integrity_monitoring=True
            ),
            workload_metadata_config=getattr(module, f"{prefix}WorkloadMetadataConfig")(mode="GKE_METADATA"),
            **settings,
        )


def maintenance(start: str) -> gke.ContainerClusterMaintenancePolicy:
    """Return a window of six hours from `start` (`HH:MM`, UTC), each Saturday and Sunday."""
    begin = datetime.fromisoformat(f"{_FIRST_DAY}T{start}")
    return gke.ContainerClusterMaintenancePolicy(
        recurring_window=gke.ContainerClusterMaintenancePolicyRecurringWindow(
            start_time=f"{begin.isoformat()}Z",
            end_time=f"{(begin + _WINDOW).isoformat()}Z",
            recurrence="FREQ=WEEKLY;BYDAY=SA,SU",
        )
    )


def disk_type(machine_type: str) -> str:
    """Return the kind of boot disk that `machine_type` takes."""
    return "hyperdisk-balanced" if machine_type.split("-")[0] in _HYPERDISK_FAMILIES else "pd-balanced"
