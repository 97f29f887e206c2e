from dataclasses import dataclass
@dataclass(frozen=True)
class Deal:
    candidates: tuple[tuple[str, str], ...]
    def pool(self, pool):
        by = {c.name: c for c in pool.candidates}
        return pool.model_copy(update={"candidates": tuple(by[r].model_copy(update={"name": n, "aliases": ()}) for n, r in self.candidates)})
