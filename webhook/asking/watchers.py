"""Programs that watch or tend the containers of their node: over an empty daemon they do nothing.

Known by the name of their image, as their charts and manuals have it; a registry that mirrors them
keeps that name. Rows of `nodeWatchers` in the config file come on top; a row with the name of
one here takes its place.
"""

from __future__ import annotations

from typing import Final

from webhook.pods.selectors import PodSelector


def _row(name: str, because: str, *images: str) -> PodSelector:
    return PodSelector(name=name, because=because, images=images or (name,))


_SHIPS: Final = "collects the logs of the node's containers"
_MEASURES: Final = "measures the node's containers"
_ROUTES: Final = "makes routes for the node's containers"
_GUARDS: Final = "looks for attacks in the node's containers"
_SHOWS: Final = "shows the node's containers"
_UPDATES: Final = "looks for newer images of the node's containers"
_REMOVES: Final = "removes containers and images of the node"

WATCHERS: Final = (
    _row("watchtower", _UPDATES),
    _row("ouroboros", _UPDATES),
    _row("diun", _UPDATES),
    _row("whats-up-docker", _UPDATES, "whats-up-docker", "wud"),
    _row("autoheal", "restarts the node's containers", "autoheal", "docker-autoheal"),
    _row(
        "portainer",
        _SHOWS,
        "portainer",
        "portainer-ce",
        "portainer-ee",
        "portainer/agent",
        "portainer-agent",
    ),
    _row("dozzle", _SHOWS),
    _row("dockge", _SHOWS),
    _row("yacht", _SHOWS, "selfhostedpro/yacht"),
    _row("ctop", _SHOWS),
    _row("lazydocker", _SHOWS),
    _row("swarmpit", _SHOWS, "swarmpit", "swarmpit/agent"),
    _row("komodo", _SHOWS, "komodo-periphery", "moghtech/komodo-periphery"),
    _row("arcane", _SHOWS, "ofkm/arcane", "getarcaneapp/arcane"),
    _row("dockwatch", _SHOWS, "dockwatch", "notifiarr/dockwatch"),
    _row("homepage", _SHOWS, "gethomepage/homepage", "benphelps/homepage"),
    _row("homarr", _SHOWS),
    _row("uptime-kuma", _SHOWS),
    _row("scope", _SHOWS, "weaveworks/scope"),
    _row("traefik", _ROUTES),
    _row(
        "nginx-proxy",
        _ROUTES,
        "nginx-proxy",
        "docker-gen",
        "acme-companion",
        "letsencrypt-nginx-proxy-companion",
    ),
    _row("caddy-docker-proxy", _ROUTES),
    _row("docker-hoster", _ROUTES, "docker-hoster"),
    _row(
        "sablier",
        "stops and starts the node's containers",
        "sablierapp/sablier",
        "acouvreur/sablier",
    ),
    _row("registrator", "registers the node's containers"),
    _row(
        "docker-socket-proxy",
        "hands the node's Docker on",
        "docker-socket-proxy",
        "socket-proxy",
        "dockerproxy",
    ),
    _row("telegraf", _MEASURES),
    _row("prometheus", _MEASURES, "prom/prometheus", "prometheus/prometheus"),
    _row("node-problem-detector", "looks for problems of the node"),
    _row("cadvisor", _MEASURES, "cadvisor", "cadvisor-amd64", "cadvisor-arm64"),
    _row(
        "datadog",
        _MEASURES,
        "datadog/agent",
        "datadoghq/agent",
        "datadog-agent",
        "docker-dd-agent",
        "dd-agent",
    ),
    _row(
        "newrelic",
        _MEASURES,
        "newrelic/infrastructure*",
        "newrelic-infrastructure",
        "newrelic/nri-docker",
    ),
    _row(
        "dynatrace",
        _MEASURES,
        "dynatrace/oneagent",
        "dynatrace-oneagent",
        "dynatrace/dynatrace-oneagent",
    ),
    _row("instana", _MEASURES, "instana/agent", "instana-agent"),
    _row("appdynamics", _MEASURES, "appdynamics/machine-agent*"),
    _row("sematext", _MEASURES, "sematext/agent", "sematext/logagent"),
    _row("netdata", _MEASURES),
    _row("glances", _MEASURES),
    _row("beszel", _MEASURES, "beszel-agent"),
    _row("zabbix", _MEASURES, "zabbix-agent", "zabbix-agent2"),
    _row("collectd", _MEASURES),
    _row("metricbeat", _MEASURES, "metricbeat", "metricbeat-oss", "metricbeat-wolfi"),
    _row(
        "docker-exporter",
        _MEASURES,
        "docker-exporter",
        "docker_exporter",
        "docker-state-exporter",
        "container-exporter",
        "container_exporter",
    ),
    _row(
        "opentelemetry-collector",
        _MEASURES,
        "opentelemetry-collector",
        "opentelemetry-collector-contrib",
        "otelcol",
        "otel-collector",
    ),
    _row("grafana-agent", _MEASURES, "grafana/agent", "grafana-agent", "alloy", "grafana/alloy"),
    _row("checkmk", _MEASURES, "check-mk-agent", "checkmk-agent"),
    _row("promtail", _SHIPS),
    _row(
        "fluentd",
        _SHIPS,
        "fluentd",
        "fluentd-kubernetes-daemonset",
        "fluentd-elasticsearch",
        "fluent-bit",
        "aws-for-fluent-bit",
    ),
    _row("filebeat", _SHIPS, "filebeat", "filebeat-oss", "filebeat-wolfi", "elastic-agent"),
    _row(
        "logspout", _SHIPS, "logspout", "logspout-gelf", "logspout-logstash", "logspout-cloudwatch"
    ),
    _row("vector", _SHIPS, "timberio/vector"),
    _row("splunk", _SHIPS, "splunk/universalforwarder", "universalforwarder"),
    _row("sumologic", _SHIPS, "sumologic/collector", "sumologic-collector"),
    _row("logdna", _SHIPS, "logdna-agent", "logdna/logdna-agent"),
    _row("sysdig", _GUARDS, "sysdig/agent", "sysdig/sysdig", "sysdig-agent", "sysdig/agent-slim"),
    _row("falco", _GUARDS, "falco", "falcosecurity/falco-no-driver"),
    _row("tracee", _GUARDS),
    _row("wazuh", _GUARDS, "wazuh-agent"),
    _row("aqua", _GUARDS, "aquasec/enforcer", "aqua-enforcer", "aquasec/agent"),
    _row("neuvector", _GUARDS, "neuvector/enforcer", "neuvector/controller", "neuvector/allinone"),
    _row("twistlock", _GUARDS, "twistlock/defender", "twistlock-defender"),
    _row("docker-bench", "looks at how the node's Docker is set up", "docker-bench-security"),
    _row(
        "docker-gc",
        _REMOVES,
        "docker-gc",
        "docker-gc-cron",
        "docker-cleanup",
        "docker-clean",
        "image-cleaner",
        "docker-image-cleaner",
        "docker-prune",
        "docker-cleaner",
    ),
    _row("pumba", "breaks the node's containers on purpose"),
    _row("docker-volume-backup", "stops the node's containers and saves their volumes"),
    _row("ofelia", "runs commands in the node's containers"),
)
