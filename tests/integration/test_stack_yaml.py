"""The reader of stack files reads ambiguous YAML values as the Pulumi CLI does."""

import json
from pathlib import Path

import pytest

from config.stack_yaml import read
from operations.stack_file import as_configuration
from tests.integration.deployment import Deployment, run

pytestmark = pytest.mark.local

SCALARS = (
    *("~", "null", "NULL", "nULL", "true", "True", "tRUE", "yes", "on", "y", "no", "off", "n"),
    *("0", "-0", "00", "08", "0123", "-017", "0128", "0o17", "0O17", "0o8", "0b1", "0B1", "0b2"),
    *("0x1F", "0X1f", "-0x1F", "0x", "0xZZ", "+5", "-5", "5_000", "1__0", "5_", "_5", "-_5"),
    *("1.10", "1.", ".5", ".5e1", ".5_0", "._5", ".", "-.5", "-0.0", "1_000.5", "1e3", "1E3"),
    *("1e400", "1e-400", "1e20", "1e21", "0.00001", "1e-7", "3.0", "1e3_0", "0x1.8p1", "1e"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "-9223372036854775809"),
    *("2026-11", "2026-11-01T10:00:00", "12:30", "190:20:30", "nan", "inf", "1,000", "5-3", "="),
    *("'0123'", "'2026-11-01'", '"a\\tb\\u263A"', "!!str 0123", "!!str 2026-11-01", "! 12"),
    *("[1, 0x2, ]", "{a: &p {x: 1}, b: {<<: *p, y: 2}, c: {<<: [*p, {x: 3, z: 4}], x: ~}}"),
    *("{secure: 5}", "{secure: a, b: c}", "|\n      a\n       b\n", ">-\n      a\n\n      b"),
)
STACK_FILE = "\ufeffbase: &base {oss-registry:merged: {a: 0123}, top: 0b11}\nconfig:\n" + "".join(
    [
        "  <<: *base\n  nothing:\n  truth: True\n  number: 5_000\n  a:config:b: c\n",
        "  oss-registry:scalars:\n",
        *(f"    s{at}: {text}\n" for at, text in enumerate(SCALARS)),
    ]
)


def test_a_stack_file_is_read_as_the_pulumi_cli_reads_it(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.file.write_text(STACK_FILE)
    words = deployment.pulumi_command("config", "--json")
    printed = json.loads(run(*words, env=deployment.environment, separate_stderr=True).stdout)

    content, unclear = read(STACK_FILE, "oss-registry")
    texts, _ = as_configuration(content["config"])

    assert not unclear
    assert texts.keys() <= printed.keys()  # the CLI also prints the defaults of Pulumi.yaml
    scalars = json.loads(texts.pop("oss-registry:scalars"))
    expected = json.loads(printed.pop("oss-registry:scalars")["value"])
    for at, text in enumerate(SCALARS):
        # As JSON, because 1, 1.0 and true are equal in Python.
        ours, theirs = (json.dumps(of[f"s{at}"], sort_keys=True) for of in (scalars, expected))
        assert (text, ours) == (text, theirs)
    for key, text in texts.items():
        assert text.replace(" ", "") == printed[key]["value"]
