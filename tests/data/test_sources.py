import json
import shutil

import datasets
import pytest

from hiva_hf.data import AU_SETS, au_features
from hiva_hf.data.sources import open_source


PARTS = {"F001": 1, "F003": 2, "F004": 3}


@pytest.fixture
def folder(tmp_path, write_prepared):
    write_prepared(tmp_path / "bp4d", "bp4d", PARTS, num_rows=2)
    return tmp_path / "bp4d"


def change_manifest(folder, **changes):
    manifest = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(manifest | changes))


def test_a_prepared_folder_is_opened_without_reading_its_shards(folder):
    for path in folder.glob("data/*.parquet"):
        path.write_bytes(b"not read")
    source = open_source("bp4d", folder)
    assert source.subject_parts == PARTS
    assert source.aus == AU_SETS["bp4d"]
    assert len(source.shards) == 6


def test_an_unfinished_preparation_is_refused_with_what_to_do(folder):
    (folder / "dataset.json").unlink()
    with pytest.raises(ValueError, match="not finished.*Run the same `hiva-hf prepare` command again"):
        open_source("bp4d", folder)


@pytest.mark.parametrize(
    "name, content", [("bp4d", "AUCoding"), ("disfa", "ActionUnit_Labels"), ("gft", "videos"), ("custom", "a.csv")]
)
def test_a_raw_release_is_refused_with_the_command_that_prepares_it(tmp_path, name, content):
    (tmp_path / content).mkdir()
    command = f"`hiva-hf prepare {name} --data_dir {tmp_path} --output_dir PREPARED`"
    with pytest.raises(FileNotFoundError, match=f"no dataset.json, but {content}.*{command}"):
        open_source(name, tmp_path)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"There is no folder {tmp_path / 'x'}"):
        open_source("bp4d", tmp_path / "x")


def test_another_set_than_asked_for_is_refused_by_name(folder):
    with pytest.raises(ValueError, match="holds BP4D, not DISFA: load it as 'bp4d'"):
        open_source("disfa", folder)


def test_only_the_embedded_set_needs_no_folder():
    assert len(open_source("synthfacs").subject_parts) == 240
    with pytest.raises(ValueError, match="`data_dir` is missing: DISFA doesn't come with the package"):
        open_source("disfa")


def test_an_unknown_data_set_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="There is no AU data set 'affectnet'. Known: bp4d, custom, .*synthfacs"):
        open_source("affectnet")


def test_a_missing_shard_is_named(folder):
    (folder / "data/F003_T2-001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="lacks 1 of the 6 shards .* data/F003_T2-001.parquet"):
        open_source("bp4d", folder)


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"format": 2}, "has the format 2, but this version reads 1"),
        ({"aus": [1, 2]}, "has the AUs 1, 2, but bp4d has 1, 2, 4, 6"),
        ({"settings": None}, "dataset.json of .* is damaged"),
        ({"shards": [{"file": "data/x.parquet"}]}, "dataset.json of .* is damaged .*subject"),
        ({"shards": [{"file": "../x", "subject": "A", "fold": 1, "num_rows": 1, "sha256": ""}]}, "outside the folder"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(folder, changes, complaint):
    change_manifest(folder, **changes)
    with pytest.raises(ValueError, match=complaint):
        open_source("bp4d", folder)


def test_a_cut_manifest_is_refused(folder):
    manifest = folder / "dataset.json"
    manifest.write_bytes(manifest.read_bytes()[:100])
    with pytest.raises(ValueError, match="dataset.json of .* is damaged"):
        open_source("bp4d", folder)


def test_a_subject_in_two_parts_is_named(folder):
    shards = json.loads((folder / "dataset.json").read_text())["shards"]
    shards[1]["fold"] = 2
    change_manifest(folder, shards=shards)
    with pytest.raises(ValueError, match="Subject F001 of .* is in the parts 1 and 2"):
        open_source("bp4d", folder)


def test_a_subject_in_two_parts_of_plain_shards_is_named(tmp_path, make_rows):
    aus = AU_SETS["synthfacs"]
    rows = [row for part in (1, 2) for row in make_rows("S0001", part, "single", 1, aus)]
    datasets.Dataset.from_list(rows, features=au_features(len(aus))).to_parquet(tmp_path / "faces.parquet")
    with pytest.raises(ValueError, match="Subject S0001 of .* is in the parts 1 and 2"):
        open_source("synthfacs", tmp_path)


def test_subjects_without_a_face_are_left_out(folder):
    shards = json.loads((folder / "dataset.json").read_text())["shards"]
    for shard in shards[:2]:
        shard["num_rows"] = 0
    change_manifest(folder, shards=shards)
    assert open_source("bp4d", folder).subject_parts == {"F003": 2, "F004": 3}


def test_the_fingerprint_follows_the_shards_and_not_the_folder(folder, tmp_path):
    before = open_source("bp4d", folder).fingerprint
    copy = tmp_path / "moved"
    shutil.copytree(folder, copy)
    assert open_source("bp4d", copy).fingerprint == before
    shard = copy / "data/F001_T1-000.parquet"
    shard.write_bytes(shard.read_bytes())
    assert open_source("bp4d", copy).fingerprint != before


def test_a_revision_of_a_folder_is_refused(folder):
    with pytest.raises(ValueError, match="`revision` is 'main', but .* is a folder"):
        open_source("bp4d", folder, revision="main")
