"""The file of clients: what it grants, and what is said about one that cannot be used."""

import hashlib
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_serving.clients import MOST_CHARS, ClientsError, decode
from hanas_serving.principals import ON_KEYS, Action

WEB, OPS = (hashlib.sha256(token).hexdigest() for token in (b"web", b"ops"))


def text(content: str) -> str:
    return textwrap.dedent(content).replace("WEB", WEB).replace("OPS", OPS)


def test_what_a_file_grants() -> None:
    clients = decode(
        text("""\
        roles:
          shop: [read, write, list]
        principals:
          - name: web
            tokens: [WEB, "sha256:OPS"]
            certificates: ["CN=web,O=Example"]
            accessKeys: [AKIA1]
            grants:
              - {prefix: orders/2026/, rights: [read]}
              - {prefix: orders/, roles: [shop]}
              - {prefix: "", rights: [watch]}
              - {bucket: backups, rights: [write]}
          - name: ops@example.com
            grants:
              - roles: [administrator, reader]
        """)
    )
    assert len(clients) == 2
    web, ops = clients.entries
    assert (web.name, [digest.hex() for digest in web.digests]) == ("web", [WEB, OPS])
    assert (web.subjects, web.access_keys) == (("CN=web,O=Example",), ("AKIA1",))
    assert (web.everywhere, dict(web.below)) == (
        frozenset(),
        {
            Action.READ: (b"orders/",),
            Action.WRITE: (b"orders/",),
            Action.LIST: (b"orders/",),
            Action.WATCH: (b"",),
        },
    )
    assert ops.everywhere == {Action.ADMIN, Action.OBSERVE, Action.READ, Action.LIST, Action.WATCH}
    assert decode("principals: []").entries == ()
    [writer] = decode("principals: [{name: a, grants: [{roles: [writer]}]}]").entries
    assert writer.everywhere == ON_KEYS


NAME = "principals:\n- name: web\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty; it needs `principals`"),
        ("roles: {}\n", "line 1: Object missing required field `principals`"),
        ("principals:\n  - nom: web\n", "line 2: principals[0]: Object contains unknown field `nom`"),
        ("principals:\n\n  - name: 7\n", "line 3: principals[0].name: Expected `str`, got `int`"),
        ("principals: {}\n", "line 1: principals: Expected `array`, got `object`"),
        ("principals: [\n{name: web}\n", "line 3: this is no YAML: expected ',' or ']', but got '<stream end>'"),
        (NAME + "  tokens: [abc]\n", "line 3: principals[0].tokens[0]: a token stands here as its SHA-256"),
        (NAME + f"  tokens:\n  - {WEB}\n  - {WEB.upper()}\n", "line 5: principals[0].tokens[1]: a token stands"),
        (
            NAME + f"  tokens: [{hashlib.sha256().hexdigest()}]\n",
            "line 3: principals[0].tokens[0]: this is the SHA-256 of an empty token",
        ),
        (
            NAME + f"  tokens: [{WEB}]\n- name: b\n  tokens: ['sha256:{WEB}']\n",
            "line 5: principals[1].tokens[0]: it stands at principals[0].tokens[0] already",
        ),
        (NAME + "- name: web\n", "line 3: principals[1].name: it stands at principals[0].name already"),
        (
            NAME + "  certificates: [CN=a]\n- name: b\n  certificates: [CN=a]\n",
            "line 5: principals[1].certificates[0]: it stands at principals[0].certificates[0] already",
        ),
        (
            NAME + "  grants:\n  - rights:\n    - read\n    - reed\n",
            "line 6: principals[0].grants[0].rights[1]: there is no right 'reed': use delete, list, read",
        ),
        (NAME + "  grants:\n  - rights: [operate]\n", "there is no right 'operate'"),
        (NAME + "  grants:\n  - roles: [boss]\n", "line 4: principals[0].grants[0].roles[0]: there is no role 'boss'"),
        (NAME + "  grants:\n  - prefix: a\n", "line 4: principals[0].grants[0]: this grants nothing"),
        (
            NAME + "  grants:\n  - {prefix: a, rights: [read, admin, observe]}\n",
            "line 4: principals[0].grants[0].prefix: admin and observe: for the whole cluster only",
        ),
        (
            NAME + "  grants:\n  - {prefix: a, bucket: b, rights: [read]}\n",
            "line 4: principals[0].grants[0].bucket: a grant has a prefix or a bucket, not both",
        ),
        (NAME + '  grants:\n  - {prefix: "\\ud800", rights: [read]}\n', "line 4: "),
        ("roles:\n  a: [read, raed]\nprincipals: []\n", "line 2: roles.a[1]: there is no right 'raed'"),
        ("roles:\n  reader: [write]\nprincipals: []\n", "line 2: roles.reader: every file has this role already"),
        (NAME + "  name: b\n", "line 3: principals[0]: 'name' stands here twice"),
        (NAME + "principals: []\n", "line 3: 'principals' stands here twice"),
        ("principals: &a []\nroles: *a\n", "line 2: aliases are not taken: write it out"),
        ("? [a]\n: b\n", "line 1: a name is expected here"),
        ("principals: " + "[" * 40 + "]" * 40, "this is nested too deeply"),
        ("principals: " + "[" * 9000, "line 1: this is nested too deeply"),
        ("principals: [!!python/object:os.system x]\n", "could not determine a constructor"),
        ("principals: [2026-99-99]\n", "month must be in"),
        ("principals: []\n---\nprincipals: []\n", "this is no YAML: but found another document"),
        ("\0", "this is no YAML"),
        ("#" * (MOST_CHARS + 1), "the file has more than 256 KiB"),
    ],
)
def test_what_cannot_be_used_names_line_and_field(content: str, words: str) -> None:
    with pytest.raises(ClientsError) as caught:
        decode(content)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message


@given(st.text(st.sampled_from("principals: []{}-name&*!?|>'\"\n  #%@`,"), max_size=60))
def test_any_text_is_taken_or_refused_in_one_line(content: str) -> None:
    for each in (content, "principals:\n" + content):
        words = ""
        try:
            decode(each)
        except ClientsError as error:
            words = str(error)
        assert "\n" not in words
