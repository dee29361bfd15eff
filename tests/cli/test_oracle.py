"""The float64 references name the fields of the ops themselves: a field that is added to an argument struct, and that the
reference of its op does not look at, fails here."""
import os
import re
import unittest
from pathlib import Path

SOURCE = Path(os.environ["NLM_SOURCE"])
HEADER = (SOURCE / "core/include/nlm/op_args.h").read_text()
ORACLE = "\n".join(path.read_text() for path in sorted((SOURCE / "tests/oracle").glob("*.c")))
# Of every struct: how large it is, and room.
NEVER = {"struct_size", "reserved"}


def fields_of(op):
    body = re.search(r"typedef struct nlm_%s_args \{(.*?)\} nlm_%s_args;" % (op, op), HEADER, re.S)[1]
    return set(re.findall(r"(\w+);", body)) - NEVER


def knows_flags(op):
    table = (SOURCE / "core/include/nlm/op_table.h").read_text()
    scalars = re.search(r"nlm_scalars_%s\[\] = \{(.*?)\};" % op, table, re.S)
    return bool(scalars) and ("NLM_FLAG" in scalars[1] or "ROPE_SCALARS" in scalars[1])


def text_of(op):
    """The reference of an op, with the functions that take its arguments."""
    heads = r"(?:ORACLE_OP\(%s\)|[^\n;]*\([^;{]*\bconst nlm_%s_args \*a\b[^;{]*\)) \{" % (op, op)
    return "\n".join(match[0] for match in re.finditer(heads + r".*?\n\}", ORACLE, re.S))


class Oracle(unittest.TestCase):
    def test_every_field_of_an_op_is_known_to_its_reference(self):
        ops = re.findall(r"^NLM_OP\(\d+, (\w+)\)", (SOURCE / "core/include/nlm/ops.def").read_text(), re.M)
        self.assertGreater(len(ops), 15)
        for op in ops:
            wanted = fields_of(op) - (set() if knows_flags(op) else {"flags"})
            named = set(re.findall(r"\ba->(\w+)", text_of(op)))
            with self.subTest(op=op):
                self.assertEqual(wanted - named, set(), f"the reference of {op} does not look at these")


if __name__ == "__main__":
    unittest.main()
