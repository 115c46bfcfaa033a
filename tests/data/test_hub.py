"""Data sets on the Hub, against a server that speaks its protocol. All of a client's steps are in `hub_client.py`."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from datasets import Features

from hiva_hf.data import AU_SETS, MISSING_LABEL, au_features, load_au_dataset, push_prepared_to_hub
from hiva_hf.data.dataset_card import dataset_card
from hiva_hf.data.hub import is_hub_id
from hiva_hf.data.manifest import open_prepared


BP4D_PARTS = {"F001": 1, "F002": 1, "F003": 2, "F005": 2, "F004": 3, "M003": 3}
# Two for each subject.
NUM_SHARDS = 12


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def rows(folders, write_prepared):
    """The rows of each set in [`folders`], as `hub_client.py` tells them apart."""
    written = {
        "bp4d": write_prepared(folders / "bp4d", "bp4d", BP4D_PARTS),
        "disfa": write_prepared(folders / "disfa", "disfa", {"SN001": 1, "SN006": 2, "SN003": 3}),
        "custom": write_prepared(folders / "custom", "custom", {"a": 1, "b": 2, "c": 2}, aus=(4, 12)),
        "changed": write_prepared(folders / "changed", "custom", {"d": 1, "b": 2, "c": 2}, aus=(4, 12)),
    }
    return {name: [short(row) for row in rows] for name, rows in written.items()}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where the client keeps its caches: nothing is in them at first."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def seen(folders, rows, home, hub_server):
    """What the client saw at each step."""
    script = Path(__file__).with_name("hub_client.py")
    command = [sys.executable, str(script), str(folders)]
    client = subprocess.run(command, env=hub_server.environment(home), capture_output=True, text=True)
    assert client.returncode == 0, client.stderr
    assert hub_server.token not in client.stderr
    return json.loads(client.stdout)


def short(row):
    return [row["subject"], row["task"], row["frame"], row["labels"], row["image"]["bytes"].hex()]


def of_subjects(rows, *subjects):
    return [row for row in rows if row[0] in subjects]


def card_of(seen):
    """Metadata and text of the pushed card."""
    _, metadata, text = seen["pushed"]["card"].split("---\n", 2)
    return yaml.safe_load(metadata), text


# Pushing


def test_a_push_is_private_and_complete(seen, hub_server):
    pushed = seen["pushed"]
    assert pushed["private"]
    assert pushed["url"] == f"{hub_server.endpoint}/datasets/org/bp4d"
    shards = [file for file in pushed["files"] if file.startswith("data/")]
    assert len(shards) == NUM_SHARDS == pushed["sent"]
    assert set(pushed["files"]) - set(shards) == {"README.md", "dataset.json", "report.json", "report.txt"}


def test_a_second_push_of_the_same_sends_and_commits_nothing(seen):
    assert seen["pushed"]["sent_again"] == 0
    # The first one is the Hub's own.
    assert seen["pushed"]["num_commits"] == 2


def test_an_interrupted_push_shows_nothing_and_is_resumed(seen):
    interrupted = seen["interrupted"]
    assert "OSError: The upload to org/disfa failed (Error while uploading 'data/" in interrupted["error"]
    assert "shards that were uploaded are not sent again" in interrupted["error"]
    assert interrupted["files"] == []
    assert (interrupted["sent"], interrupted["sent_again"]) == (3, 3)


def test_a_push_replaces_what_was_there_and_tags_keep_it(seen, rows):
    revisions = seen["revisions"]
    assert revisions["v1"] == of_subjects(rows["custom"], "a")
    assert revisions["main"] == of_subjects(rows["changed"], "d")
    assert [file for file in revisions["files"] if file.startswith("data/a")] == []


def test_only_the_owner_can_push(seen):
    assert "403 Forbidden" in seen["published"]["stranger"]


@pytest.mark.parametrize("confirm_public", [None, "yes", "org/other"])
@pytest.mark.parametrize("name, why", [("bp4d", "may not be passed on"), ("custom", "may be under a licence")])
def test_faces_under_a_licence_become_public_only_when_told_twice(folders, rows, name, why, confirm_public):
    with pytest.raises(ValueError, match=f"{why}.*public=True and confirm_public='org/name'"):
        push_prepared_to_hub(folders / name, "org/name", public=True, confirm_public=confirm_public)


def test_telling_twice_publishes(seen):
    assert seen["published"]["told_twice_is_private"] is False
    assert seen["published"]["custom_is_private"] is False
    assert seen["published"]["rows_for_all"] == 6


def test_an_existing_public_data_set_is_no_place_for_private_faces(seen):
    assert "org/custom exists and is public" in seen["published"]["onto_public"]
    assert seen["published"]["commits_since"] == 0


def test_an_unfinished_folder_is_not_pushed(tmp_path, write_prepared):
    write_prepared(tmp_path, "bp4d", BP4D_PARTS, num_rows=2)
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(ValueError, match="not finished"):
        push_prepared_to_hub(tmp_path, "org/bp4d")


def test_a_damaged_folder_is_not_pushed(tmp_path, write_prepared):
    write_prepared(tmp_path, "bp4d", BP4D_PARTS, num_rows=2)
    shard = tmp_path / "data/F001_T1-000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match="F001_T1-000.parquet is not the file that dataset.json lists"):
        push_prepared_to_hub(tmp_path, "org/bp4d")


def test_a_folder_without_its_report_is_not_pushed(tmp_path, write_prepared):
    write_prepared(tmp_path, "bp4d", BP4D_PARTS, num_rows=2)
    (tmp_path / "report.txt").unlink()
    with pytest.raises(FileNotFoundError, match="has no report.txt"):
        push_prepared_to_hub(tmp_path, "org/bp4d")


# The card


def test_the_card_tells_the_hub_what_the_hub_wants_to_know(seen):
    metadata, _ = card_of(seen)
    assert metadata["license"] == "other"
    assert metadata["size_categories"] == ["n<1K"]
    assert [config["config_name"] for config in metadata["configs"]] == ["fold1", "fold2", "fold3"]
    test = {entry["split"]: entry["path"] for entry in metadata["configs"][1]["data_files"]}["test"]
    assert test == [f"data/{name}" for name in ("F003_T1-000.parquet", "F003_T2-001.parquet")] + [
        f"data/{name}" for name in ("F005_T1-000.parquet", "F005_T2-001.parquet")
    ]
    info = metadata["dataset_info"][0]
    assert Features._from_yaml_list(info["features"]) == au_features(12)
    assert sum(split["num_examples"] for split in info["splits"]) == 36


def test_the_card_tells_people_what_they_need_to_know(seen):
    _, text = card_of(seen)
    assert "they are personal data" in text
    assert "The authors of BP4D license its pictures and labels to research groups, who may not share them" in text
    assert 'load_au_dataset("bp4d", "org/bp4d", fold=1, split="train")' in text
    rows = re.sub(" +", " ", text)
    assert "| `labels` | `int8[12]` |" in rows
    assert "| `fold2` | test | 2 | 12 |" in rows
    assert "- `fold2` tests F003 F005" in text
    assert "| AU12 | Lip Corner Puller | 80.0 % | 60.0 % | 80.0 % | 100.0 % | 6 |" in rows
    assert "Of 37 labelled frames, 36 became rows" in text
    assert "setting `camera`: `left`" in text
    assert "hf_owner" not in text


def test_the_card_of_a_users_own_set_bears_the_name_of_the_repository(folders, rows):
    manifest, _ = open_prepared(folders / "custom", "custom")
    report = json.loads((folders / "custom/report.json").read_text())
    text = str(dataset_card(manifest, report, "org/smiles"))
    assert "# smiles, aligned faces with Action Units" in text
    assert "ask them before you share the faces" in text


# Reading


def test_all_splits_come_back_as_they_were_prepared(seen, rows):
    loaded = seen["loaded"]["loaded"]
    assert loaded["test"] == of_subjects(rows["bp4d"], "F001", "F002")
    others = loaded["train"] + loaded["validation"]
    assert sorted(others) == sorted(of_subjects(rows["bp4d"], "F003", "F005", "F004", "M003"))
    assert not {row[0] for row in loaded["train"]} & {row[0] for row in loaded["validation"]}


def test_datasets_alone_loads_the_same_splits(seen, rows):
    assert seen["loaded"]["configs"] == ["fold1", "fold2", "fold3"]
    assert seen["loaded"]["by_datasets"] == seen["loaded"]["loaded"]
    assert seen["loaded"]["features"] == repr(au_features(12))
    assert seen["loaded"]["streamed_by_datasets"] == of_subjects(rows["bp4d"], "F003", "F005")


def test_streaming_reads_the_shards_of_its_split_alone(seen, rows):
    streamed = seen["streamed"]
    assert streamed["rows"] == of_subjects(rows["bp4d"], "F001", "F002")
    assert [file[:4] for file in streamed["files"]] == ["F001", "F001", "F002", "F002"]


def test_workers_stream_from_the_hub_with_other_aus(seen, rows):
    place = AU_SETS["bp4d"].index(12)
    # AU45 is not in BP4D.
    expected = [[row[0], [row[3][place], MISSING_LABEL]] for row in of_subjects(rows["bp4d"], "F001", "F002")]
    assert sorted(seen["streamed"]["by_workers"]) == sorted(expected)


def test_a_private_data_set_is_refused_without_the_right_token(seen):
    for who in ("anonymous", "anonymous_stream", "stranger", "nowhere"):
        complaint = seen["refused"][who]
        assert complaint.startswith("FileNotFoundError: There is no folder org/")
        assert "If it is private, log in with `hf auth login` or pass `token`" in complaint
    assert "Invalid credentials" in seen["refused"]["wrong_token"]


def test_what_is_not_on_the_hub_is_named(seen):
    assert "The data set org/bp4d on the Hub has no revision 'v9'" in seen["refused"]["revision"]
    assert "org/bp4d holds BP4D, not GFT: load it as 'bp4d'" in seen["refused"]["other_set"]


@pytest.mark.parametrize("streaming", [False, True])
def test_what_was_downloaded_is_there_offline(seen, rows, home, tmp_path, monkeypatch, streaming):
    # This process is offline.
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home / "hub"))
    faces = load_au_dataset("bp4d", "org/bp4d", split="test", streaming=streaming, cache_dir=tmp_path)
    assert [row["labels"] for row in faces] == [row[3] for row in of_subjects(rows["bp4d"], "F001", "F002")]


def test_what_was_never_downloaded_is_refused_offline(seen, home, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home / "hub"))
    with pytest.raises(FileNotFoundError, match="org/nothing.* can't be reached"):
        load_au_dataset("bp4d", "org/nothing", cache_dir=tmp_path)


def test_a_download_that_was_cut_off_is_refused_offline(seen, home, tmp_path, monkeypatch):
    shutil.copytree(home / "hub", tmp_path / "hub", symlinks=True)
    next(tmp_path.glob("hub/datasets--org--bp4d/snapshots/*/data/F001_T1-000.parquet")).unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(FileNotFoundError, match="Not all shards of org/bp4d are in the cache"):
        load_au_dataset("bp4d", "org/bp4d", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    "data_dir, expected",
    [("org/name", True), ("name", False), ("/data/bp4d", False), ("./bp4d", False), ("a/b/c", False), ("~/x", False)],
)
def test_ids_are_told_from_folders(data_dir, expected):
    assert is_hub_id(data_dir) == expected
