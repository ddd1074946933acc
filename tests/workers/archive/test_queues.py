from workers.archive.queues import GROUPS_REMEMBERED, LONGEST_LEAD, StepQueues


def test_groups_are_forgotten_when_their_steps_have_ended_but_not_at_once() -> None:
    queues = StepQueues()
    queues.add(0, "restore", None, "lasting")
    queues.take(0, "node")
    for number in range(1, GROUPS_REMEMBERED + 2):
        queues.add(number, "restore", None, f"group {number}")
        queues.take(number, "node")
        queues.forget(number)
    steps = {"group 1": "", "group 2": "node", f"group {GROUPS_REMEMBERED + 1}": "node", "lasting": "node"}
    for number, (group, home) in enumerate(steps.items(), GROUPS_REMEMBERED + 2):
        queues.add(number, "restore", None, group)
        assert queues.home(number) == home


def test_a_step_whose_machine_does_not_take_it_does_not_wait_for_ever() -> None:
    queues = StepQueues()
    for number, group in ((0, "x"), (1, "x"), (LONGEST_LEAD + 1, "y"), (LONGEST_LEAD + 2, "y")):
        queues.add(number, "restore", None, group)
        queues.put(number)
    queues.take(0, "stuck")
    assert queues.choose("restore", "a", "other", 1) == LONGEST_LEAD + 1
    queues.take(LONGEST_LEAD + 1, "other")
    assert queues.choose("restore", "a", "other", 1) == 1


def test_what_was_taken_elsewhere_does_not_pile_up() -> None:
    queues = StepQueues()
    for number in range(1000):
        queues.add(number, "restore", None, f"group {number % 10}")
        queues.put(number)
        queues.take(number, f"node {number % 10}")
        queues.forget(number)
    assert queues.heads("restore") == []
    heaps = (*queues._of_all.values(), *queues._at_home.values())
    assert sum(map(len, heaps)) <= len(heaps)
