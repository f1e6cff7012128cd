#!/usr/bin/env python3
"""Builds every case in cases/ with BuildKit and with cooper and compares the images.

    BUILDKIT_HOST=unix:///..  parity.py --cooper PATH --registry localhost:5000 [--write] [case ..]

Needs on PATH: buildctl (and a buildkitd that it reaches), skopeo, busybox; and a registry on a loopback port that both
the script and buildkitd reach. Nothing else of the project needs this script: its results are the `.expected` files
beside the cases, which `cargo test` holds cooper against. `--write` stores them, from BuildKit's result; where a case
says `differs`, from cooper's. Times and compression are not compared.
"""
import argparse
import base64
import concurrent.futures
import difflib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(HERE, "cases")
# A header is `--- path attribute.. ---`; the lines up to the next one are the file.
HEADER = re.compile(r"^--- (\S+)((?: \S+)*) ---$")
# Sections that are not files of the context.
META = ("options", "differs")


def sections(text):
    """The sections of a case: (name, attributes, content)."""
    out = []
    for line in text.splitlines(keepends=True):
        match = HEADER.match(line.rstrip("\n"))
        if match:
            out.append((match[1], match[2].split(), []))
        elif out:
            out[-1][2].append(line)
    return [(name, attributes, "".join(lines)) for name, attributes, lines in out]


def unpack(case, into):
    """Writes the context of a case into a directory; gives its options, and why it may differ."""
    meta = {}
    with open(os.path.join(CASES, case + ".case"), encoding="utf-8", newline="") as file:
        found = sections(file.read())
    for name, attributes, content in found:
        if name in META:
            meta[name] = content
            continue
        attributes = dict(item.split("=", 1) if "=" in item else (item, "") for item in attributes)
        path = os.path.join(into, name)
        os.makedirs(os.path.dirname(path.rstrip("/")), exist_ok=True)
        if "link" in attributes:
            os.symlink(attributes["link"], path)
            continue
        if "hard" in attributes:
            os.link(os.path.join(into, attributes["hard"]), path)
            continue
        mode = int(attributes.get("mode", "755" if name.endswith("/") else "644"), 8)
        if name.endswith("/"):
            os.makedirs(path, exist_ok=True)
        else:
            data = base64.b64decode(content) if "base64" in attributes else content.encode()
            if "bare" in attributes:  # without the last line end
                data = data[:-1]
            with open(path, "wb") as file:
                file.write(data)
        os.chmod(path, mode)
    return [line.split(" ", 1) for line in meta.get("options", "").splitlines()], meta.get("differs")


def buildctl_arguments(options, context, base):
    out = ["build", "--progress=plain", "--frontend=dockerfile.v0", "--local", f"context={context}",
           "--local", f"dockerfile={context}", "--opt", f"context:base=docker-image://{base}"]
    for name, value in options:
        key, _, rest = value.partition("=")
        if name in ("build-arg", "label"):
            out += ["--opt", f"{name}:{value}"]
        elif name == "target":
            out += ["--opt", f"target={value}"]
        elif name == "file":
            out += ["--opt", f"filename={value}"]
        elif name == "secret":
            out += ["--secret", value.replace("src=", f"src={context}/")]
        elif name == "build-context" and "://" in rest:
            out += ["--opt", f"context:{value}"]
        elif name == "build-context":
            out += ["--local", f"{key}={context}/{rest}", "--opt", f"context:{key}=local:{key}"]
        elif name == "add-host":
            out += ["--opt", f"add-hosts={value.replace(':', '=', 1)}"]
        elif name in ("ulimit", "shm-size"):
            out += ["--opt", f"{name}={value}"]
        elif name == "network":
            out += ["--opt", f"force-network-mode={value}"]
        elif name == "allow":
            out += ["--allow", value]
        elif name == "no-cache-filter":
            out += ["--opt", f"no-cache={value}"]
        else:
            sys.exit(f"unknown option {name}")
    return out


def cooper_arguments(options, context, base):
    out = ["build", "--progress=plain", "--build-context", f"base=oci-layout://{base}"]
    for name, value in options:
        if name == "secret":
            value = value.replace("src=", f"src={context}/")
        if name == "file":
            value = f"{context}/{value}"
        if name == "build-context" and "://" not in value:
            value = value.replace("=", f"={context}/", 1)
        out += [f"--{name}", value]
    return out + [context]


class Archive:
    """An image in an OCI archive."""

    def __init__(self, path):
        self.tar = tarfile.open(path)
        manifest = json.loads(self.read("index.json"))["manifests"][0]
        self.manifest = json.loads(self.blob(manifest["digest"]))
        if "manifests" in self.manifest:
            self.manifest = json.loads(self.blob(self.manifest["manifests"][0]["digest"]))
        self.config = json.loads(self.blob(self.manifest["config"]["digest"]))

    def read(self, name):
        return self.tar.extractfile(name).read()

    def blob(self, digest):
        return self.read("blobs/" + digest.replace(":", "/"))

    def layer(self, index):
        data = self.blob(self.manifest["layers"][index]["digest"])
        return tarfile.open(fileobj=io.BytesIO(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data))


TYPES = {tarfile.REGTYPE: "f", tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l", tarfile.LNKTYPE: "h",
         tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b", tarfile.FIFOTYPE: "p"}


def inode(tar, entry):
    """One line for one entry of a layer."""
    kind = TYPES[entry.type]
    path = "/" + entry.name.strip("/").removeprefix("./")
    words = [kind, f"{entry.mode & 0o7777:04o}", f"{entry.uid}:{entry.gid}", path]
    if kind == "f":
        content = tar.extractfile(entry).read()
        words += [str(len(content)), hashlib.sha256(content).hexdigest()[:16]]
    elif kind == "l":
        words += ["->", entry.linkname]
    elif kind == "h":
        words += ["=>", "/" + entry.linkname.strip("/")]
    elif kind in "cb":
        words.append(f"{entry.devmajor}:{entry.devminor}")
    prefix = "SCHILY.xattr."
    words += sorted(f"{key.removeprefix(prefix)}={value.encode('utf-8', 'surrogateescape').hex()}"
                    for key, value in entry.pax_headers.items() if key.startswith(prefix))
    return path, " ".join(words)


def apply(final, entries, removed):
    """What the paths of a filesystem are after a layer."""
    for path in removed:
        parent, name = path.rsplit("/", 1)
        hides = parent + "/" if name == ".wh..wh..opq" else f"{parent}/{name.removeprefix('.wh.')}"
        final -= {old for old in final if old == hides or old.startswith(hides.rstrip("/") + "/")}
    for path, line in entries:
        if not line.startswith("d"):
            final -= {old for old in final if old.startswith(path + "/")}
        final.add(path)


def summary(archive, base):
    """What is compared: config, history and layers, without those of the base."""
    config = dict(archive.config)
    history = config.pop("history", [])
    diffs = config.pop("rootfs")["diff_ids"] or []
    config.pop("created", None)
    below, told = 0, 0
    if diffs[:len(base["rootfs"]["diff_ids"])] == base["rootfs"]["diff_ids"]:
        below, told = len(base["rootfs"]["diff_ids"]), len(base["history"])
    out = [json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)]
    out += ["history" if below == 0 else "history on the base"]
    for entry in history[told:]:
        line = json.dumps(entry.get("created_by", ""), ensure_ascii=False)
        line += " empty" if entry.get("empty_layer") else ""
        line += "".join(f" {key}={entry[key]}" for key in ("comment", "author") if entry.get(key))
        out.append("  " + line)
    seen, final = set(), set()
    for index in range(len(diffs)):
        tar = archive.layer(index)
        entries = sorted(inode(tar, entry) for entry in tar if entry.name.strip("./"))
        removed = [path for path, _ in entries if "/.wh." in path]
        entries = [(path, line) for path, line in entries if "/.wh." not in path]
        apply(final, entries, removed)
        seen.update(path for path, _ in entries)
        if index >= below:
            out += [f"layer {index - below}"] + ["  " + line for _, line in entries]
    gone = sorted(seen - final)
    out += ["removed"] * bool(gone) + ["  " + path for path in gone]
    return "\n".join(out) + "\n"


def run(command, **environment):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, **environment}, timeout=120, check=False)
    return done.returncode, done.stdout


class Comparison:
    """Both tools, and the base image that both build upon."""

    def __init__(self, cooper, registry, work):
        self.cooper, self.work = cooper, work
        self.store = os.path.join(work, "store")
        context = os.path.join(work, "base")
        os.makedirs(context)
        unpack("base", context)
        shutil.copy(shutil.which("busybox"), os.path.join(context, "busybox"))
        self.layout = os.path.join(work, "layout")
        code, said = run([cooper, "build", "-o", f"type=oci,tar=false,dest={self.layout}", context],
                         COOPER_ROOT=self.store)
        assert code == 0, said
        self.image = f"{registry}/parity-base:latest"
        code, said = run(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{self.layout}", f"docker://{self.image}"])
        assert code == 0, said
        code, said = run(["skopeo", "inspect", "--config", "--raw", f"oci:{self.layout}"])
        assert code == 0, said
        self.base = json.loads(said)

    def build(self, case, tool, command, context):
        dest = os.path.join(self.work, f"{case.replace('/', '_')}.{tool}.tar")
        if tool == "buildctl":
            command = ["buildctl", *command, "--output", f"type=oci,dest={dest}"]
        else:
            command = [self.cooper, *command, "-o", f"type=oci,dest={dest}"]
        code, said = run(command, COOPER_ROOT=self.store)
        if code != 0:
            return None, said
        text = summary(Archive(dest), self.base)
        os.remove(dest)
        return text, said

    def compare(self, case):
        """(case, BuildKit's text or None, cooper's, what both said, why they may differ)."""
        context = os.path.join(self.work, "context", case)
        os.makedirs(context)
        options, differs = unpack(case, context)
        theirs = self.build(case, "buildctl", buildctl_arguments(options, context, self.image), context)
        ours = self.build(case, "cooper", cooper_arguments(options, context, self.layout), context)
        shutil.rmtree(context)
        theirs, ours = ((text, said.replace(context, "CONTEXT")) for text, said in (theirs, ours))
        return case, theirs, ours, differs


def message(said):
    """cooper's complaint, without what came before it."""
    return said[max(said.find("\nerror: ") + 1, 0):].strip() + "\n"


def store(case, text):
    with open(os.path.join(CASES, case + ".expected"), "w", encoding="utf-8") as file:
        file.write(text)


def all_cases():
    out = []
    for directory, _, files in os.walk(CASES):
        out += [os.path.relpath(os.path.join(directory, name), CASES)[:-5] for name in files if name.endswith(".case")]
    return sorted(case for case in out if case != "base")


def report(case, theirs, ours, differs, write):
    """Prints what differs; True when the case is as it should be."""
    if case.startswith("rejected/"):
        good = ours[0] is None and (theirs[0] is None) == (differs is None)
        if not good:
            verbs = ["accepts" if text else "rejects" for text in (theirs[0], ours[0])]
            print(f"== {case}: buildkit {verbs[0]}, cooper {verbs[1]}\n{(theirs[1] if ours[0] else ours[1])[-1500:]}")
        if write:
            store(case, message(ours[1]))
        return good
    for name, (text, said) in (("buildkit", theirs), ("cooper", ours)):
        if text is None and not (name == "buildkit" and differs):
            print(f"== {case}: {name} fails\n{said[-2500:]}")
            return False
    expected = ours[0] if differs else theirs[0]
    if write:
        store(case, expected)
    if theirs[0] == ours[0]:
        if differs:
            print(f"== {case}: says that it differs, but does not")
        return not differs
    print(f"== {case}: differs{' as it says: ' + differs.strip() if differs else ''}")
    lines = difflib.unified_diff((theirs[0] or "").splitlines(), ours[0].splitlines(), "buildkit", "cooper", "", "", 1, "")
    print("\n".join(list(lines)[2:]))
    return bool(differs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cooper", required=True)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("cases", nargs="*")
    args = parser.parse_args()
    wanted = [case for case in all_cases() if not args.cases or any(case.startswith(name) for name in args.cases)]
    with tempfile.TemporaryDirectory() as work:
        comparison = Comparison(os.path.abspath(args.cooper), args.registry, work)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            results = list(pool.map(comparison.compare, wanted))
    good = [report(*result, args.write) for result in results]
    print(f"{sum(good)} of {len(good)} cases as they should be")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
