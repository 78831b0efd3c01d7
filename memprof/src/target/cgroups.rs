//! Control groups of version 2: where they are mounted, which one a path means, which one a process is
//! in, and which container that is.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use anyhow::Result;
use procfs::process::Process;

use crate::{bad_input, identity::Pid};

/// A cgroup that processes are chosen by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path below the root of the hierarchy, with a slash in front.
    pub path: String,
    /// The kernel's number for it.
    pub id: u64,
}

impl Cgroup {
    /// The cgroup that the user means by `path`: a directory, or a path below the root of the hierarchy.
    ///
    /// # Errors
    /// Bad input if there is no such cgroup, or no hierarchy of version 2.
    pub fn find(path: &Path) -> Result<Self> {
        let roots = roots();
        if roots.is_empty() {
            return Err(bad_input!(
                "--cgroup {}: no cgroup hierarchy of version 2 is mounted here: give --comm or --pid, or \
                 mount it (mount -t cgroup2 none DIRECTORY)",
                path.display()
            ));
        }
        let below: PathBuf = path
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        let named = roots.iter().map(|root| root.join(&below));
        for directory in [path.to_owned()].into_iter().chain(named) {
            let Ok(real) = fs::canonicalize(&directory) else {
                continue;
            };
            let inside = roots.iter().find_map(|root| real.strip_prefix(root).ok());
            if let Some(inside) = inside
                && let Ok(metadata) = fs::metadata(&real)
                && metadata.is_dir()
            {
                return Ok(Self {
                    path: format!("/{}", inside.display()),
                    id: metadata.ino(),
                });
            }
        }
        Err(bad_input!(
            "--cgroup {}: there is no such cgroup: see `systemd-cgls`, or {}",
            path.display(),
            roots[0].display()
        ))
    }

    /// Whether a process in the cgroup `path` is in this one or below.
    fn holds(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(self.path.as_str()) else {
            return false;
        };
        self.path.ends_with('/') || rest.is_empty() || rest.starts_with('/')
    }

    /// Whether a process is in this cgroup or below it; not if that can't be read.
    pub fn has(&self, pid: Pid) -> bool {
        let mut all = memberships(pid).into_iter();
        all.any(|(is_version_2, path)| is_version_2 && self.holds(&path))
    }
}

/// Where hierarchies of version 2 are mounted.
fn roots() -> Vec<PathBuf> {
    let mounts = Process::myself().and_then(|process| process.mountinfo());
    let mounts = mounts.map_or_else(|_| Vec::new(), |mounts| mounts.0);
    let roots = mounts
        .into_iter()
        .filter(|mount| mount.fs_type == "cgroup2");
    roots.map(|mount| mount.mount_point).collect()
}

/// The cgroups of a process: whether of version 2, and the path. None of one that is gone.
fn memberships(pid: Pid) -> Vec<(bool, String)> {
    let process = i32::try_from(pid.0).ok().map(Process::new);
    let groups = process.and_then(|process| process.and_then(|one| one.cgroups()).ok());
    let groups = groups.into_iter().flatten();
    groups
        .map(|group| (group.hierarchy == 0, group.pathname))
        .collect()
}

/// The path of the cgroup that a process is in: of version 2, or where that says nothing, the longest of
/// version 1. `None` if the process is gone.
pub fn of_process(pid: Pid) -> Option<String> {
    let all = memberships(pid);
    let version_2 = all.iter().find(|one| one.0 && one.1 != "/");
    let longest = || all.iter().max_by_key(|one| one.1.len());
    version_2.or_else(longest).map(|one| one.1.clone())
}

/// The name of the container that a cgroup belongs to, where its path tells: `docker:1f2e3d4c5b6a`,
/// `lxc:web`. The innermost, of containers in containers.
pub fn container(path: &str) -> Option<String> {
    let mut found = None;
    let mut parent = "";
    for part in path.split('/') {
        found = container_of(parent, part).or(found);
        parent = part;
    }
    found
}

/// Letters of a container's id that are shown, as its own tools do.
const SHOWN_ID: usize = 12;

fn container_of(parent: &str, part: &str) -> Option<String> {
    if let Some(name) = part
        .strip_prefix("machine-")
        .and_then(|rest| rest.strip_suffix(".scope"))
    {
        return Some(format!("machine:{}", unescape(name)));
    }
    let in_lxc = ["lxc", "lxc.payload"].contains(&parent).then_some(part);
    if let Some(name) = part.strip_prefix("lxc.payload.").or(in_lxc) {
        return Some(format!("lxc:{name}"));
    }
    let scope = part.strip_suffix(".scope").unwrap_or(part);
    let (engine, id) = match scope.rsplit_once('-') {
        Some((engine, id)) if is_id(id) => (engine, id),
        _ if is_id(scope) => (parent, scope),
        _ => return None,
    };
    let engine = match engine {
        "libpod" | "libpod_parent" => "podman",
        "docker" => "docker",
        "crio" => "cri-o",
        "cri-containerd" => "containerd",
        // A pod of Kubernetes, whose directories are called by the containers' ids alone.
        _ => "container",
    };
    Some(format!("{engine}:{}", &id[..SHOWN_ID]))
}

/// A container's id is 64 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// systemd writes what it can't have in a name as `\xNN`.
fn unescape(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1f2e3d4c5b6a79880123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn containers_are_known_by_their_cgroups() {
        let docker = format!("/docker/{ID}");
        let systemd = format!("/system.slice/docker-{ID}.scope");
        let podman = format!("/machine.slice/libpod-{ID}.scope/container");
        let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice";
        let containerd = format!("{pod}/cri-containerd-{ID}.scope");
        let bare = format!("/kubepods/burstable/pod12/{ID}");
        for (path, expected) in [
            (docker.as_str(), Some("docker:1f2e3d4c5b6a")),
            (&systemd, Some("docker:1f2e3d4c5b6a")),
            (&podman, Some("podman:1f2e3d4c5b6a")),
            (&containerd, Some("containerd:1f2e3d4c5b6a")),
            (&bare, Some("container:1f2e3d4c5b6a")),
            ("/lxc/web/system.slice/cron.service", Some("lxc:web")),
            ("/lxc.payload.web/init.scope", Some("lxc:web")),
            (
                "/machine.slice/machine-web\\x2d1.scope/payload",
                Some("machine:web-1"),
            ),
            ("/system.slice/cron.service", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(container(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn hostile_names_of_cgroups_are_no_containers() {
        for path in ["/é/ä-ö.scope", "/machine-\\x.scope", "/-", "/lxc"] {
            let _ = container(path);
        }
        assert_eq!(unescape("a\\xzzb\\x2d"), "a\\xzzb-");
        assert_eq!(unescape("\\xé"), "\\xé");
    }

    #[test]
    fn a_cgroup_holds_itself_and_what_is_below() {
        let web = Cgroup {
            path: "/web".to_owned(),
            id: 1,
        };
        assert!(web.holds("/web") && web.holds("/web/worker"));
        assert!(!web.holds("/website") && !web.holds("/"));
        let root = Cgroup {
            path: "/".to_owned(),
            id: 1,
        };
        assert!(root.holds("/") && root.holds("/web"));
    }

    #[test]
    fn this_process_is_in_a_cgroup() {
        assert!(of_process(Pid(std::process::id())).is_some());
        assert_eq!(of_process(Pid(u32::MAX)), None);
    }
}
