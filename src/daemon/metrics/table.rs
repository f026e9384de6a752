//! Every metric with its labels and its meaning: documentation, dashboard and alerts are held against this.

/// A metric as the documentation has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its whole name, as queries write it.
    pub name: &'static str,
    /// `counter`, `gauge`, `histogram`, `info`.
    pub form: &'static str,
    /// Its labels, commas between them.
    pub labels: &'static str,
    /// What it tells.
    pub help: &'static str,
}

/// Every metric there is.
#[rustfmt::skip]
pub const METRICS: &[Described] = &[
    told("pvectl_reconcile_total", "counter", "source,result", "Runs that ended: success, requeue, error"),
    told("pvectl_reconcile_errors_total", "counter", "source", "Runs in which something failed"),
    told("pvectl_reconcile_time_seconds", "histogram", "source", "How long runs took"),
    told("pvectl_reconcile_active", "gauge", "source", "Runs in progress"),
    told("pvectl_workqueue_depth", "gauge", "cluster", "Objects that wait for a run; cluster all: one queue serves all of them"),
    told("pvectl_workqueue_adds_total", "counter", "cluster", "Objects that came into the queue"),
    told("pvectl_workqueue_queue_duration_seconds", "histogram", "cluster", "How long objects waited in the queue"),
    told("pvectl_workqueue_work_duration_seconds", "histogram", "cluster", "How long objects were in a run"),
    told("pvectl_workqueue_retries_total", "counter", "cluster", "Objects that were tried again"),
    told("pvectl_memory_entries", "gauge", "sort", "Entries held in memory: keys of the queue, answers of clusters, events, runs"),
    told("pvectl_loop_last_turn_timestamp_seconds", "gauge", "", "When the loop last turned; an old one means that it hangs"),
    told("pvectl_pve_requests_total", "counter", "cluster,method,status", "Requests to Proxmox VE; status none: there was no answer"),
    told("pvectl_pve_request_duration_seconds", "histogram", "cluster,method", "How long Proxmox VE took to answer"),
    told("pvectl_pve_task_duration_seconds", "histogram", "cluster,type,result", "How long tasks of Proxmox VE took: ok, warnings, error"),
    told("pvectl_objects", "gauge", "source,kind", "Objects that the manifests declare"),
    told("pvectl_objects_ready", "gauge", "source,kind", "Objects that are Ready"),
    told("pvectl_drifted_objects", "gauge", "source,kind", "Objects that drifted and were not set right yet"),
    told("pvectl_drift_seen_total", "counter", "source", "Spells of drift that began"),
    told("pvectl_drift_healed_total", "counter", "source,by", "Spells of drift that ended: by pvectl, hand, manifest"),
    told("pvectl_backup_newest_timestamp_seconds", "gauge", "source,policy", "When the newest good backup was made of the guest of a policy whose is the oldest"),
    told("pvectl_snapshot_newest_timestamp_seconds", "gauge", "source,policy,vmid", "When the newest good snapshot was taken of a guest for its policy"),
    told("pvectl_patch_pending_updates", "gauge", "source,window,target,class", "Updates that wait in a target of a patch window, as the newest look for them tells: security, other; all where that is not told apart"),
    told("pvectl_patch_reboot_required", "gauge", "source,window,target", "1 while a target of a patch window needs a reboot"),
    told("pvectl_patch_last_success_timestamp_seconds", "gauge", "source,window,target", "When a target was last updated, or found up to date"),
    told("pvectl_patch_window_open", "gauge", "source,window", "1 while a patch window is open"),
    told("pvectl_patch_failures_total", "counter", "source,window", "Targets whose updates failed, or that went back to their snapshot"),
    told("pvectl_runner_queue_seconds", "histogram", "source,pool", "How long jobs waited for a runner"),
    told("pvectl_runner_stage_seconds", "histogram", "source,pool,stage", "How long machines of runner pools were in a stage: clone, boot, register, idle, job"),
    told("pvectl_runner_job_seconds", "histogram", "source,pool", "How long runners had their jobs"),
    told("pvectl_runner_failures_total", "counter", "source,pool,cause", "Machines of runner pools that failed"),
    told("pvectl_runner_assigned_jobs", "gauge", "source,pool", "Jobs of a runner pool that wait or run"),
    told("pvectl_runner_running_jobs", "gauge", "source,pool", "Jobs of a runner pool that run"),
    told("pvectl_runner_registered_runners", "gauge", "source,pool", "Machines of a runner pool that are registered with GitHub"),
    told("pvectl_runner_busy_runners", "gauge", "source,pool", "Runners that work"),
    told("pvectl_runner_idle_runners", "gauge", "source,pool", "Runners that are online and wait for a job"),
    told("pvectl_runner_desired_runners", "gauge", "source,pool", "Machines that are to be there now"),
    told("pvectl_runner_min_runners", "gauge", "source,pool", "Idle runners that are to be ready now"),
    told("pvectl_runner_max_runners", "gauge", "source,pool", "Machines that there may be"),
    told("pvectl_runner_machines", "gauge", "source,pool,stage", "Machines of a runner pool by how far they are"),
    told("pvectl_runner_orphans", "gauge", "source,pool", "Registrations of a runner pool without a machine"),
    told("pvectl_runner_condition", "gauge", "source,pool,reason", "1 while something about a runner pool needs a person"),
    told("pvectl_github_requests_total", "counter", "scope,method,status", "What was asked of GitHub; status none: there was no answer"),
    told("pvectl_github_request_duration_seconds", "histogram", "scope,method", "How long it took"),
    told("pvectl_github_rate_limit", "gauge", "api,account,resource", "Requests that GitHub lets an account make in a span of time"),
    told("pvectl_github_rate_remaining", "gauge", "api,account,resource", "Those that are left"),
    told("pvectl_github_rate_reset_timestamp_seconds", "gauge", "api,account,resource", "When all of them are back"),
    told("pvectl_source_ready", "gauge", "source", "1 while the newest revision of a source is in force"),
    told("pvectl_source_suspended", "gauge", "source", "1 while a source is suspended"),
    told("pvectl_source_last_read_timestamp_seconds", "gauge", "source", "When a source was last read"),
    told("pvectl_proposals_waiting", "gauge", "source", "Plans that wait for a person"),
    told("pvectl_notifications_total", "counter", "sink,result", "Messages: sent, failed, dropped"),
    told("pvectl_history_lost_total", "counter", "", "Records that the history could not keep"),
    told("pvectl_node_disk_healthy", "gauge", "cluster,node,disk", "1 while SMART says that a disk is well"),
    told("pvectl_node_disk_worn_ratio", "gauge", "cluster,node,disk", "How much of a disk's promised life is used up"),
    told("pvectl_node_disk_temperature_celsius", "gauge", "cluster,node,disk", "How hot a disk is"),
    told("pvectl_node_disk_reallocated_sectors", "gauge", "cluster,node,disk", "Sectors that a disk replaced by spare ones"),
    told("pvectl_node_disk_pending_sectors", "gauge", "cluster,node,disk", "Sectors that a disk cannot read"),
    told("pvectl_node_disk_uncorrectable_errors", "gauge", "cluster,node,disk", "Errors that a disk could not correct"),
    told("pvectl_node_pool_healthy", "gauge", "cluster,node,pool", "1 while a ZFS pool is ONLINE"),
    told("pvectl_node_pool_filled_ratio", "gauge", "cluster,node,pool", "How much of a ZFS pool is in use"),
    told("pvectl_node_sensor_temperature_celsius", "gauge", "cluster,node,sensor", "What a temperature sensor of a node says; takes the host link"),
    told("pvectl_node_findings", "gauge", "cluster,node,severity", "What of a node needs a person: info, warning, critical"),
    told("pvectl_node_health_last_look_timestamp_seconds", "gauge", "cluster", "When the health of a cluster's nodes was last looked at"),
    told("pvectl_build_info", "info", "version", "The version of pvectl"),
    told("process_cpu_seconds_total", "counter", "", "Processor time used, in user and system mode"),
    told("process_resident_memory_bytes", "gauge", "", "Memory in use"),
    told("process_open_fds", "gauge", "", "Files and connections that are open"),
    told("process_start_time_seconds", "gauge", "", "When the program began"),
];

const fn told(name: &'static str, form: &'static str, labels: &'static str, help: &'static str) -> Described {
    Described { name, form, labels, help }
}
