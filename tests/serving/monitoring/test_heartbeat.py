from dataclasses import dataclass

from serving.events import Event, ModelStalled
from serving.monitoring.heartbeat import Heartbeat


@dataclass
class Model:
    stalled_seconds: float = 0.0
    given_up: int = 0

    looked_after: int = 0

    def give_up(self) -> None:
        self.given_up += 1

    def look_after(self) -> None:
        self.looked_after += 1


def test_a_model_that_hangs_is_told_once_given_up_and_taken_back() -> None:
    events: list[Event] = []
    model, fine = Model(), Model(29)
    heart = Heartbeat({"hung": model, "fine": fine}, 3000.0, events.append)
    heart.look()
    assert events == []
    model.stalled_seconds = 3001.0
    heart.look()
    heart.look()
    assert events == [ModelStalled("hung", 3001.0, over=False)]
    assert (model.given_up, fine.given_up) == (2, 0)
    assert min(model.looked_after, fine.looked_after) >= 3
    model.stalled_seconds = 0.0
    heart.look()
    assert events[1:] == [ModelStalled("hung", 3001.0, over=True)]
    heart.close()
