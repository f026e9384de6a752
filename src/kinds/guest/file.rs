//! Files that guests are made from: disk images, CDs, container templates. A file is on a storage, or the node is told to
//! fetch it. What is fetched by URL is named after its checksum: a file of that name is the verified one (PVE renames it
//! only when the checksum is right, `PVE::Tools::download_file_from_url`), and a new checksum is a new file.

use crate::base::diagnostic::nearest;
use crate::kinds::guest::from::Checksum;
use crate::kinds::guest::room;
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::{Index, text};
use crate::resource::kind::PlanContext;
use crate::resource::privilege::require_any;
use crate::resource::reference::Identity;
use crate::resource::step::{Delta, Impact, Limit, Note, Problem, Step};
use serde_json::Value;
use std::cmp::Ordering;

/// PVE's types of content that guests are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Images of disks.
    Import,
    /// CDs.
    Iso,
    /// Container templates.
    CtTemplate,
}

impl Content {
    /// PVE's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Content::Import => "import",
            Content::Iso => "iso",
            Content::CtTemplate => "vztmpl",
        }
    }

    /// The endings that PVE takes for a download (`PVE::Storage`: `UPLOAD_IMPORT_EXT_RE_1`, `ISO_EXT_RE_0`, `VZTMPL_EXT_RE_1`).
    fn endings(self) -> &'static [&'static str] {
        match self {
            Content::Import => &[".qcow2", ".raw", ".vmdk"],
            Content::Iso => &[".iso", ".img"],
            Content::CtTemplate => &[".tar.gz", ".tar.xz", ".tar.zst", ".tar"],
        }
    }
}

/// A file that a guest is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    /// It is on a storage, by its volume id.
    Volume(String, Content),
    /// The node downloads it.
    Url {
        /// Where it is.
        url: String,
        /// What PVE holds it against.
        checksum: Checksum,
        /// Which storage keeps it.
        storage: String,
        /// As what.
        content: Content,
    },
    /// A container template of Proxmox's list.
    Appliance {
        /// Its package (`debian-12-standard`), with `_VERSION` for one version alone.
        name: String,
        /// Which storage keeps it.
        storage: String,
    },
    /// An OCI image.
    Oci {
        /// Its reference with a tag.
        reference: String,
        /// Which storage keeps it.
        storage: String,
    },
}

/// Where a file stands.
#[derive(Debug)]
pub enum Arrival {
    /// It is there: its volume id.
    There(String),
    /// It will be there when this is done.
    Fetched(String, Box<Step>),
    /// Somebody fetches it just now.
    Awaited(Note),
    /// It cannot be had; why is among the problems.
    Refused,
}

/// The read that lists what a storage holds of a type.
pub fn content_query(node: &str, storage: &str, content: &str) -> Query {
    Query::new(format!("/nodes/{node}/storage/{storage}/content")).with("content", content)
}

/// The read of Proxmox's list of container templates.
fn appliances_query(node: &str) -> Query {
    Query::new(format!("/nodes/{node}/aplinfo"))
}

impl File {
    /// The storage that holds it, or will.
    pub fn storage(&self) -> &str {
        match self {
            File::Volume(volume, _) => volume.split_once(':').map_or("", |(storage, _)| storage),
            File::Url { storage, .. } | File::Appliance { storage, .. } | File::Oci { storage, .. } => storage,
        }
    }

    /// Its type of content.
    pub fn content(&self) -> Content {
        match self {
            File::Volume(_, content) | File::Url { content, .. } => *content,
            File::Appliance { .. } | File::Oci { .. } => Content::CtTemplate,
        }
    }

    /// What is read to find it, on a node.
    pub fn reads(&self, node: &str, index: &Index) -> Vec<Query> {
        let here = index.storages.contains_key(&(node.to_owned(), self.storage().to_owned()));
        if !here || !index.nodes.get(node).is_some_and(|n| n.online) {
            return Vec::new();
        }
        let mut reads = vec![content_query(node, self.storage(), self.content().as_str())];
        if matches!(self, File::Appliance { .. }) {
            reads.push(appliances_query(node));
        }
        reads
    }

    /// In a few words, for the marker and for people: which file, not where it is kept.
    pub fn summary(&self) -> String {
        match self {
            File::Volume(volume, _) => volume.clone(),
            File::Url { url, checksum, content, .. } => {
                file_name(url, checksum, *content).unwrap_or_else(|| format!("{url} {checksum}"))
            }
            File::Appliance { name, .. } => format!("appliance {name}"),
            File::Oci { reference, .. } => format!("oci {reference}"),
        }
    }
}

/// The name that a download gets: the URL's last word, the first digits of the checksum, the ending. `None` if PVE takes no
/// file of its ending. A disk image in `.img` is kept as `.qcow2`: PVE has no such ending for images, and looks inside.
pub fn file_name(url: &str, checksum: &Checksum, content: Content) -> Option<String> {
    let last = url.split(['?', '#']).next()?.trim_end_matches('/').rsplit('/').next()?;
    let last: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || "-._+".contains(c) { c } else { '_' }).collect();
    let (stem, ending) = match content.endings().iter().find_map(|e| Some((last.strip_suffix(e)?, *e))) {
        Some(found) => found,
        None if content == Content::Import => (last.strip_suffix(".img")?, ".qcow2"),
        None => return None,
    };
    // 255 is PVE's longest name.
    let stem: String = stem.chars().take(200).collect();
    Some(format!("{stem}-{}{ending}", &checksum.digits[..12.min(checksum.digits.len())]))
}

/// Finds a file on the node of the guest, or says how it gets there. What stands against it goes to the problems, at `path`.
pub fn find(cx: &PlanContext<'_>, file: &File, path: &str, delta: &mut Delta) -> Arrival {
    let Identity::Guest { node, .. } = cx.identity else { return Arrival::Refused };
    let (storage, content) = (file.storage(), file.content());
    let before = delta.problems.len();
    if let File::Volume(volume, _) = file
        && volume.split_once(':').is_none_or(|(storage, name)| storage.is_empty() || name.is_empty())
    {
        delta.problems.push(Problem::new(path, format!("`{volume}` is no volume id")).help(format!(
            "write it like STORAGE:{0}/NAME; pvesm list STORAGE --content {0} shows them",
            content.as_str()
        )));
        return Arrival::Refused;
    }
    room::check_takes(cx, storage, node, content.as_str(), path, delta);
    let at = [format!("/storage/{storage}")];
    require_any(cx, delta, &at, &["Datastore.Audit", "Datastore.AllocateSpace"]);
    if delta.problems.len() > before {
        return Arrival::Refused;
    }
    let Some(list) = cx.seen.value(&content_query(node, storage, content.as_str())) else {
        return Arrival::Awaited(Note::Unsettled(format!(
            "what `{storage}` on `{node}` holds cannot be read just now"
        )));
    };
    let held: Vec<String> = list.as_array().into_iter().flatten().filter_map(|v| text(&v["volid"])).collect();
    let wanted = match file {
        File::Volume(volume, _) => {
            if held.contains(volume) {
                return Arrival::There(volume.clone());
            }
            delta.problems.push(absent(volume, node, &held, path));
            return Arrival::Refused;
        }
        File::Url { url, checksum, .. } => of_url(url, checksum, content),
        File::Appliance { name, .. } => of_appliance(cx, node, name, storage, &held),
        File::Oci { reference, .. } => of_oci(cx, reference),
    };
    match wanted {
        Err(problem) => {
            delta.problems.push(Problem { path: Problem::new(path, "").path, ..problem });
            Arrival::Refused
        }
        Ok(wanted) => arrive(cx, node, storage, content, wanted, &held, delta),
    }
}

/// What is to be on the storage, and the request that brings it there.
struct Wanted {
    name: String,
    verb: &'static str,
    params: Vec<(&'static str, String)>,
    network: bool,
}

fn of_url(url: &str, checksum: &Checksum, content: Content) -> Result<Wanted, Problem> {
    let Some(name) = file_name(url, checksum, content) else {
        let endings = content.endings().join(", ");
        return Err(Problem::new("", format!("`{url}` has not the ending of a file that PVE downloads as `{}`", content.as_str()))
            .help(format!("PVE takes {endings}; what is packed otherwise is unpacked and put on the storage by hand, and named by its volume")));
    };
    let params = vec![
        ("content", content.as_str().to_owned()),
        ("filename", name.clone()),
        ("url", url.to_owned()),
        ("checksum", checksum.digits.clone()),
        ("checksum-algorithm", checksum.algorithm.to_owned()),
    ];
    Ok(Wanted { name, verb: "download-url", params, network: true })
}

/// The newest of a package: on the storage, else on the list.
fn of_appliance(
    cx: &PlanContext<'_>,
    node: &str,
    name: &str,
    storage: &str,
    held: &[String],
) -> Result<Wanted, Problem> {
    let is_of = |file: &str| file.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    let prefix = format!("{storage}:{}/", Content::CtTemplate.as_str());
    let here = held.iter().filter_map(|v| v.strip_prefix(&prefix)).filter(|f| is_of(f)).max_by(|a, b| by_version(a, b));
    let list: &[Value] = cx.seen.value(&appliances_query(node)).and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let listed: Vec<String> = list.iter().filter_map(|row| text(&row["template"])).collect();
    let newest = listed.iter().filter(|f| is_of(f)).max_by(|a, b| by_version(a, b));
    match here.map(str::to_owned).or_else(|| newest.cloned()) {
        Some(file) => Ok(Wanted { params: vec![("template", file.clone())], name: file, verb: "", network: false }),
        None => {
            let packages: Vec<String> = list.iter().filter_map(|row| text(&row["package"])).collect();
            let help = nearest(name, packages.iter().map(String::as_str)).map_or_else(
                || "pveam update brings the list up to date, and pveam available shows it".to_owned(),
                |near| format!("did you mean `{near}`? pveam update brings the list up to date"),
            );
            Err(Problem::new(
                "",
                format!(
                    "there is no container template `{name}` on `{storage}`, nor on the list that node `{node}` has"
                ),
            )
            .help(help))
        }
    }
}

fn of_oci(cx: &PlanContext<'_>, reference: &str) -> Result<Wanted, Problem> {
    let version = &cx.seen.index.version;
    if !version.is_empty() && by_version(version, "9.1") == Ordering::Less {
        return Err(Problem::new("", format!("this is Proxmox VE {version}, and OCI images are pulled since 9.1"))
            .help("upgrade the cluster, or use `osTemplate` or `appliance`"));
    }
    let stem: String =
        reference.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' }).collect();
    // PVE puts the ending to the name itself.
    let params = vec![("reference", reference.to_owned()), ("filename", stem.clone())];
    Ok(Wanted { name: format!("{stem}.tar"), verb: "oci-registry-pull", params, network: true })
}

fn arrive(
    cx: &PlanContext<'_>,
    node: &str,
    storage: &str,
    content: Content,
    wanted: Wanted,
    held: &[String],
    delta: &mut Delta,
) -> Arrival {
    let Wanted { name, verb, params, network } = wanted;
    let volume = format!("{storage}:{}/{name}", content.as_str());
    if held.contains(&volume) {
        return Arrival::There(volume);
    }
    let before = delta.problems.len();
    require_any(cx, delta, &[format!("/storage/{storage}")], &["Datastore.AllocateTemplate"]);
    if network {
        reach_out(cx, node, verb == "download-url", delta);
    }
    if delta.problems.len() > before {
        return Arrival::Refused;
    }
    if cx.seen.index.is_fetching(node, &name) {
        return Arrival::Awaited(Note::Unsettled(format!("`{name}` is just being fetched to `{storage}`")));
    }
    let path = if verb.is_empty() {
        format!("/nodes/{node}/aplinfo")
    } else {
        format!("/nodes/{node}/storage/{storage}/{verb}")
    };
    let mut call = Call::new(Method::Post, path);
    if verb.is_empty() {
        call = call.with("storage", storage);
    }
    for (key, value) in params {
        call = call.with(key, value);
    }
    let step = Step::new(format!("fetch {name} to {storage}"), call, Impact::None)
        .task(node)
        .limit(Limit::Storage(storage.to_owned()))
        .limit(Limit::File(format!("{node} {volume}")));
    Arrival::Fetched(volume, Box::new(step))
}

/// The right to let a node reach out: on the node, or (for a URL) on the whole cluster.
fn reach_out(cx: &PlanContext<'_>, node: &str, by_url: bool, delta: &mut Delta) {
    let index = &cx.seen.index;
    let everywhere = by_url && index.may("/", "Sys.Audit") && index.may("/", "Sys.Modify");
    if !everywhere {
        require_any(cx, delta, &[format!("/nodes/{node}")], &["Sys.AccessNetwork"]);
    }
}

fn absent(volume: &str, node: &str, held: &[String], path: &str) -> Problem {
    let near = nearest(volume, held.iter().map(String::as_str));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if held.is_empty() => "the storage holds none of its type".to_owned(),
        None => format!("there are: {}", held.join(", ")),
    };
    let noun = if volume.contains(":vztmpl/") { "CT template" } else { "file" };
    Problem::new(path, format!("node `{node}` has no {noun} `{volume}`")).help(help)
}

/// Which of two names or versions is the newer: numbers in them count as numbers (`12.12` comes after `12.7`).
fn by_version(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        let mut out: Vec<(u64, String)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let words = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let digits = rest[words..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |n| words + n);
            out.push((rest[words..digits].parse().unwrap_or(0), rest[..words].to_owned()));
            rest = &rest[digits..];
        }
        out
    };
    let turned = |text: &str| parts(text).into_iter().map(|(number, word)| (word, number)).collect::<Vec<_>>();
    turned(a).cmp(&turned(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_named_after_its_checksum() {
        let sum = Checksum::parse(&format!("sha256:{}", "0123456789ab".repeat(6)[..64].to_owned())).expect("it is one");
        for (url, content, name) in [
            ("https://x/a/debian-12.qcow2", Content::Import, Some("debian-12-0123456789ab.qcow2")),
            ("https://x/noble-amd64.img?x=1", Content::Import, Some("noble-amd64-0123456789ab.qcow2")),
            ("https://x/a%20b.iso", Content::Iso, Some("a_20b-0123456789ab.iso")),
            ("https://x/rootfs.tar.xz", Content::CtTemplate, Some("rootfs-0123456789ab.tar.xz")),
            ("https://x/debian.qcow2.xz", Content::Import, None),
            ("https://x/", Content::Iso, None),
        ] {
            assert_eq!(file_name(url, &sum, content).as_deref(), name, "{url}");
        }
    }

    #[test]
    fn the_newest_is_the_one_with_the_greater_numbers() {
        let mut all = ["d_12.7-1_amd64", "d_12.12-1_amd64", "d_12.12-2_amd64", "d_9.1_amd64"];
        all.sort_by(|a, b| by_version(a, b));
        assert_eq!(all, ["d_9.1_amd64", "d_12.7-1_amd64", "d_12.12-1_amd64", "d_12.12-2_amd64"]);
        assert_eq!(by_version("9.0.11", "9.1"), Ordering::Less);
        assert_eq!(by_version("9.1.1", "9.1"), Ordering::Greater);
        assert_eq!(by_version("10.0", "9.1"), Ordering::Greater);
    }
}
