//! What `/proc` says of processes: CPU time, peak memory, and who listens on a port.

use std::collections::HashMap;
use std::fs;

use super::Result;

/// What `/proc/PID/stat` counts in; 100 on every Linux, whatever the kernel's own clock.
const TICKS_A_SECOND: f64 = 100.0;
/// As `/proc/net/tcp` writes the state of a listening socket.
const LISTENING: &str = "0A";
/// Where the fields begin that `stat` has behind the name, which may hold blanks itself.
const PARENT: usize = 1;
const CPU: std::ops::Range<usize> = 11..13;
const CPU_OF_ENDED_CHILDREN: std::ops::Range<usize> = 13..15;

/// User and system time since its start, in seconds.
pub fn cpu(pid: u32) -> Result<f64> {
    let stat = stat(pid).ok_or_else(|| format!("process {pid} is gone"))?;
    Ok(seconds(&stat, CPU))
}

/// The most memory that was ever resident, in MiB.
pub fn peak(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kibibytes: f64 = line.trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes / 1024.0)
}

/// A process with its children, those that have ended too: what a server uses that forks for each connection.
pub fn cpu_of_tree(pid: u32) -> Option<f64> {
    let own = stat(pid)?;
    let children =
        pids().filter_map(stat).filter(|stat| stat.get(PARENT).is_some_and(|parent| *parent == pid.to_string()));
    let of_children: f64 = children.map(|stat| seconds(&stat, CPU)).sum();
    Some(seconds(&own, CPU) + seconds(&own, CPU_OF_ENDED_CHILDREN) + of_children)
}

/// The process of this machine that listens on a port, if it may be seen.
pub fn listener(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let sockets: Vec<String> =
        tables.iter().flat_map(|table| table.lines()).filter_map(|line| socket(line, port)).collect();
    pids().find(|pid| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        links.into_iter().any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
    })
}

/// The name that `/proc/PID/fd` has for a socket that listens on `port`.
fn socket(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, listens_on) = fields.get(1)?.rsplit_once(':')?;
    let right = u16::from_str_radix(listens_on, 16) == Ok(port) && *fields.get(3)? == LISTENING;
    right.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn seconds(stat: &[String], fields: std::ops::Range<usize>) -> f64 {
    let ticks = stat.get(fields).unwrap_or_default().iter().filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_A_SECOND
}

/// The servers, when they run on this machine and may be looked at.
pub struct Servers(Vec<(&'static str, u32)>);

impl Servers {
    /// Each with its URL.
    pub fn find(urls: &[(&'static str, &str)]) -> Self {
        let here = |(name, url): &(&'static str, &str)| {
            let url: url::Url = url.parse().ok()?;
            let local = matches!(url.host_str()?, "localhost" | "127.0.0.1" | "::1" | "[::1]");
            let port = url.port().or(match url.scheme() {
                "amqp" => Some(5672),
                _ => Some(5432),
            });
            Some((*name, listener(port.filter(|_| local)?)?))
        };
        Self(urls.iter().filter_map(here).collect())
    }

    pub fn cpu(&self) -> HashMap<&'static str, f64> {
        self.0.iter().filter_map(|(name, pid)| Some((*name, cpu_of_tree(*pid)?))).collect()
    }
}
