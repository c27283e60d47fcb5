"""What lies in a vault is read as it was written, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.epochs import WRAP_SIZE
from crypto.ids import EntryId, FolderId
from protocol import wire
from protocol.errors import NewerForm, ProtocolError
from protocol.relay_records import RelayRecord
from protocol.vault import VaultContents, VaultFolder, VaultWrap, decode_vault, merged
from tests.protocol.test_backup_records import address, record

WRAP = VaultWrap(EntryId(b"e" * 32), b"w" * WRAP_SIZE)
CONTENTS = VaultContents(
    1_700_000_000,
    (b"genesis", b"add"),
    (VaultFolder(FolderId(b"f" * 32), "notes", (b"one", b"two"), (WRAP,)),),
    (record(1),),
    (RelayRecord(address(1), b"", 3, is_used=True),),
)


def test_it_is_read_as_it_was_written() -> None:
    assert decode_vault(CONTENTS.encode()) == CONTENTS


def test_what_one_device_knew_less_of_is_taken_from_another() -> None:
    (folder,) = CONTENTS.folders
    older = CONTENTS._replace(written_s=5, user_entries=(b"genesis", b"other"), backups=())
    stale = CONTENTS._replace(
        written_s=CONTENTS.written_s + 1,
        folders=(folder._replace(entries=(b"one",), wraps=()),),
        backups=(record(1, version=0),),
    )
    whole = merged([older, stale, CONTENTS])
    assert whole.written_s == stale.written_s
    assert whole.user_entries == (b"genesis", b"add", b"other")
    assert whole.folders == (folder,)
    assert whole.backups == CONTENTS.backups
    assert whole.relays == CONTENTS.relays


def test_what_a_later_version_wrote_is_told_from_damage() -> None:
    with pytest.raises(NewerForm):
        decode_vault(wire.encode([2, "something new"]))
    with pytest.raises(ProtocolError):
        decode_vault(wire.encode([1, 0, [], [], [], []]))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_vault_or_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_vault(data)
