//! Compiles the programs of the kernel, where there is a compiler for them. Without one the crate is built all the same, and says at run time what is missing.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=OUTWORK_CLANG");
    println!("cargo:rustc-check-cfg=cfg(bpf)");
    let Some(out) = std::env::var_os("OUT_DIR").map(PathBuf::from) else { return };
    if std::env::var_os("CARGO_FEATURE_DPDK").is_some()
        && let Err(why) = link_dpdk(&out)
    {
        println!("cargo::error=the feature `dpdk` cannot be built: {why}");
    }
    match ["l4", "port"].iter().try_for_each(|program| compile(program, &out)) {
        Ok(()) => println!("cargo:rustc-cfg=bpf"),
        Err(why) => {
            println!("cargo:rustc-env=OUTWORK_WITHOUT_BPF={why}");
            println!("cargo:warning=this build has neither XDP, tc nor AF_XDP: {why}");
        }
    }
}

/// Compiles the shim before DPDK and links both.
fn link_dpdk(out: &Path) -> Result<(), String> {
    const LIBRARIES: [&str; 4] = ["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_eal"];
    println!("cargo:rerun-if-changed=dpdk");
    let run = |program: &str, arguments: &[&str]| match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("`{program}` does not run ({error})")),
    };
    let flags = run("pkg-config", &["--cflags", "libdpdk"])
        .map_err(|why| format!("install Debian's `libdpdk-dev` and `pkg-config` ({why})"))?;
    let (object, archive) = (out.join("shim.o"), out.join("libowdpdk.a"));
    let (object, archive) = (object.to_string_lossy(), archive.to_string_lossy());
    let compile = ["-O2", "-Wall", "-Wextra", "-fPIC", "-c", "dpdk/shim.c", "-o", &object];
    run("cc", &flags.split_whitespace().chain(compile).collect::<Vec<_>>())?;
    run("ar", &["crs", &archive, &object])?;
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=owdpdk");
    LIBRARIES.iter().for_each(|library| println!("cargo:rustc-link-lib={library}"));
    Ok(())
}

/// Compiles one program, or says in a line what is missing.
fn compile(program: &str, out: &Path) -> Result<(), String> {
    let clang = std::env::var("OUTWORK_CLANG").unwrap_or_else(|_| "clang".to_owned());
    let mut command = Command::new(&clang);
    command.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]);
    // The paths of headers that depend on the machine, which a compiler for another machine does not look at.
    if let Ok(arch) = std::env::var("CARGO_CFG_TARGET_ARCH") {
        command.arg(format!("-I/usr/include/{arch}-linux-gnu"));
    }
    let (source, object) = (format!("bpf/{program}.bpf.c"), out.join(format!("{program}.bpf.o")));
    let output = match command.args(["-c", &source, "-o"]).arg(object).output() {
        Ok(output) => output,
        Err(error) => return Err(format!("`{clang}` does not run ({error}), install Debian's `clang`")),
    };
    if output.status.success() {
        return Ok(());
    }
    let complaints = String::from_utf8_lossy(&output.stderr);
    let package = [("bpf/", "libbpf-dev"), ("linux/", "linux-libc-dev"), ("asm/", "linux-libc-dev")];
    let missing = complaints.lines().find(|line| line.contains("file not found"));
    let first = missing.or(complaints.lines().find(|line| line.contains("error:"))).unwrap_or("it says nothing");
    match package.iter().find(|(header, _)| first.contains(&format!("'{header}"))) {
        Some((_, package)) => Err(format!("a header is missing, install Debian's `{package}` ({first})")),
        None => Err(format!("`{clang}` did not compile {source}: {first}")),
    }
}
