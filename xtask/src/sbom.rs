//! The software bill of materials: every crate that the program is built from, with its licence and hash.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::{Result, plain_cargo, root};

/// Prints the bill as CycloneDX 1.5 in JSON. The same tree gives the same bytes.
pub fn print() -> Result<()> {
    let mut cargo = plain_cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--features", "libtorch"]).current_dir(root());
    let output = cargo.output().map_err(|error| format!("cargo does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let lock = fs::read_to_string(root().join("Cargo.lock")).map_err(|error| format!("Cargo.lock: {error}"))?;
    println!("{:#}", bill(&metadata, &hashes(&lock)));
    Ok(())
}

/// Hashes of the crates of a lock file, by name and version.
fn hashes(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let mut hashes = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"'))
        };
        if let (Some(name), Some(version), Some(hash)) = (field("name"), field("version"), field("checksum")) {
            hashes.insert((name, version), hash);
        }
    }
    hashes
}

fn bill(metadata: &Value, hashes: &BTreeMap<(&str, &str), &str>) -> Value {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut components: Vec<(String, Value)> = Vec::new();
    let mut version_of_root = Value::Null;
    for package in packages {
        let (name, version) = (text(package, "name"), text(package, "version"));
        if name == "palestra" {
            version_of_root = version.into();
            continue;
        }
        let purl = format!("pkg:cargo/{name}@{version}");
        let mut component = json!({
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
        });
        // Crates of this repository have no hash in the lock file.
        if let Some(hash) = hashes.get(&(name, version)) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": hash }]);
        }
        if let Some(licence) = package["license"].as_str() {
            // Old crates divide licences by a slash.
            component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
        }
        components.push((purl, component));
    }
    components.sort_by(|left, right| left.0.cmp(&right.0));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": { "type": "application", "bom-ref": "palestra", "name": "palestra", "version": version_of_root },
        },
        "components": components.into_iter().map(|(_, component)| component).collect::<Vec<_>>(),
        "dependencies": dependencies(metadata, packages),
    })
}

/// Dependencies of each crate.
fn dependencies(metadata: &Value, packages: &[Value]) -> Vec<Value> {
    let reference = |package: &Value| match text(package, "name") {
        "palestra" => "palestra".to_string(),
        name => format!("pkg:cargo/{name}@{}", text(package, "version")),
    };
    let references: BTreeMap<&str, String> =
        packages.iter().map(|package| (text(package, "id"), reference(package))).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut needs: Vec<(&String, Vec<&String>)> = Vec::new();
    for node in nodes {
        let needed = node["dependencies"].as_array().into_iter().flatten();
        let mut needed: Vec<&String> = needed.filter_map(|id| references.get(id.as_str()?)).collect();
        needed.sort();
        if let Some(reference) = references.get(text(node, "id")) {
            needs.push((reference, needed));
        }
    }
    needs.sort();
    needs.into_iter().map(|(reference, needed)| json!({ "ref": reference, "dependsOn": needed })).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_has_its_licence_hash_and_needs() {
        let lock = "version = 4\n\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n\n\
                    [[package]]\nname = \"palestra\"\nversion = \"0.1.0\"\n";
        let metadata = json!({
            "packages": [
                { "id": "p", "name": "palestra", "version": "0.1.0", "license": "MIT" },
                { "id": "b", "name": "b", "version": "1.0.0", "license": "MIT/Apache-2.0" },
            ],
            "resolve": { "nodes": [{ "id": "p", "dependencies": ["b"] }, { "id": "b", "dependencies": [] }] },
        });
        let bill = bill(&metadata, &hashes(lock));
        assert_eq!(bill["metadata"]["component"]["version"], "0.1.0");
        assert_eq!(
            bill["components"],
            json!([{
                "type": "library", "bom-ref": "pkg:cargo/b@1.0.0", "name": "b", "version": "1.0.0",
                "purl": "pkg:cargo/b@1.0.0", "hashes": [{ "alg": "SHA-256", "content": "00ff" }],
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            }])
        );
        let needs = json!([{ "ref": "palestra", "dependsOn": ["pkg:cargo/b@1.0.0"] }, { "ref": "pkg:cargo/b@1.0.0", "dependsOn": [] }]);
        assert_eq!(bill["dependencies"], needs);
    }
}
