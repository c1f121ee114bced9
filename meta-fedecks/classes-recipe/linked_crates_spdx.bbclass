# The crates that are linked into the programs, with version, licence and checksum, in the SPDX documents of the
# packages that contain the programs: create-spdx itself knows only where they are downloaded from. The formats are
# SPDX 2.2, as scarthgap writes it, and 3.0.

LINKED_CRATES[doc] = "The generated list of crates: name, version, programs, declared and used licence, separated by tabs."
LINKED_CRATES_WITHOUT ?= ""
LINKED_CRATES_WITHOUT[doc] = "Crates of the list that this configuration does not use."
LINKED_CRATES_PACKAGES[doc] = "The package of each program, as PROGRAM:PACKAGE."

def crates_of_spdx2(document, crates):
    import re
    package = document["packages"][0]
    for crate in crates:
        identifier = "SPDXRef-Crate-" + re.sub("[^A-Za-z0-9.-]", "-", crate["id"])
        document["packages"].append({
            "SPDXID": identifier,
            "name": crate["name"],
            "versionInfo": crate["version"],
            "licenseDeclared": crate["declared"],
            "licenseConcluded": crate["used"],
            "downloadLocation": crate["location"],
            "filesAnalyzed": False,
            "copyrightText": "NOASSERTION",
            "checksums": [{"algorithm": "SHA256", "checksumValue": crate["sha256"]}],
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": crate["purl"]}],
        })
        document["relationships"].append({
            "spdxElementId": package["SPDXID"], "relationshipType": "STATIC_LINK", "relatedSpdxElement": identifier,
        })

def crates_of_spdx3(document, crates):
    import re
    graph = document["@graph"]
    roots = next(one for one in graph if one["type"] == "SpdxDocument")["rootElement"]
    package = next(one for one in graph if one.get("spdxId") in roots and one["type"] == "software_Package")
    base = package["spdxId"].rsplit("/package/", 1)[0]
    # A name that does not change with the build, as OpenEmbedded gives to all elements.
    alias_key = "https://rdf.openembedded.org/spdx/3.0/alias"
    aliases = [one for one in package.get("extension", []) if alias_key in one]

    def add(kind, path, **fields):
        element = {"type": kind, "spdxId": "%s/%s" % (base, path), "creationInfo": package["creationInfo"], **fields}
        for one in aliases:
            alias = "%s/%s" % (one[alias_key].rsplit("/package/", 1)[0], path)
            element["extension"] = [{**one, alias_key: alias}]
        if all(one.get("spdxId") != element["spdxId"] for one in graph):
            graph.append(element)
        return element["spdxId"]

    def licence(expression):
        path = "crate-license/" + re.sub("[^A-Za-z0-9_-]", "_", expression)
        return add("simplelicensing_LicenseExpression", path, simplelicensing_licenseExpression=expression)

    added = []
    for crate in crates:
        path = "crate/" + re.sub("[^A-Za-z0-9_-]", "_", crate["id"])
        identifier = add("software_Package", path, name=crate["name"], software_packageVersion=crate["version"],
            software_packageUrl=crate["purl"], software_downloadLocation=crate["location"],
            software_primaryPurpose="library",
            verifiedUsing=[{"type": "Hash", "algorithm": "sha256", "hashValue": crate["sha256"]}])
        for kind, expression in (("hasDeclaredLicense", crate["declared"]), ("hasConcludedLicense", crate["used"])):
            add("Relationship", "%s/%s" % (path, kind), relationshipType=kind, to=[licence(expression)], **{"from": identifier})
        added.append(identifier)
    add("LifecycleScopedRelationship", "crates", relationshipType="hasStaticLink", scope="build", to=added, **{"from": package["spdxId"]})

python add_linked_crates() {
    import json
    from pathlib import Path

    packages = dict(pair.split(":") for pair in d.getVar("LINKED_CRATES_PACKAGES").split())
    crates = {package: [] for package in packages.values()}
    for line in Path(d.getVar("LINKED_CRATES")).read_text().splitlines():
        if line.startswith("#"):
            continue
        name, version, programs, declared, used = line.split("\t")
        if name in d.getVar("LINKED_CRATES_WITHOUT").split():
            continue
        crate = {
            "name": name, "version": version, "declared": declared, "used": used, "id": "%s-%s" % (name, version),
            "sha256": d.getVarFlag("SRC_URI", "%s-%s.sha256sum" % (name, version)),
            "location": "https://crates.io/api/v1/crates/%s/%s/download" % (name, version),
            "purl": "pkg:cargo/%s@%s" % (name, version),
        }
        for program in programs.split():
            crates[packages[program]].append(crate)
    for package, linked in crates.items():
        name = d.getVar("PKG:%s" % package) or package
        documents = [one for one in Path(d.getVar("SPDXDEPLOY")).rglob("*%s.spdx.json" % name)
                     if one.parent.name.startswith("packages") and one.name.removeprefix("package-") == name + ".spdx.json"]
        if not documents:
            bb.warn("There is no SPDX document of %s for the crates in it" % name)
        for path in documents:
            document = json.loads(path.read_text())
            (crates_of_spdx3 if "@graph" in document else crates_of_spdx2)(document, linked)
            path.write_text(json.dumps(document, sort_keys=True, indent=2 if d.getVar("SPDX_PRETTY") == "1" else None))
}

do_create_spdx[postfuncs] += "add_linked_crates"
do_create_spdx[file-checksums] += "${LINKED_CRATES}:True"
add_linked_crates[doc] = "Part of do_create_spdx: adds the crates to the documents of the packages."
add_linked_crates[vardeps] += "crates_of_spdx2 crates_of_spdx3"
