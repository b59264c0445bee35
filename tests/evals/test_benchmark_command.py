"""The command that results are published with names no folder of the machine that made them."""

from benchmarks.command import command_line


def test_folders_and_programs_have_their_names():
    words = ["benchmarks/packed.py", "--source", "/home/me/data", "--turns", "3", "--openvino=/opt/python"]
    assert command_line(words) == "benchmarks/packed.py --source DATA --turns 3 --openvino=PYTHON"


def test_other_words_stay_and_can_be_given_to_a_shell():
    assert command_line(["a.py", "--options", "--method wanda"]) == "a.py --options '--method wanda'"
