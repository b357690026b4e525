"""Below the methods: laws, maps and exact assignment, used on their own."""

import torch

from pushforward.laws import Gaussian, Pushforward
from pushforward.maps import Affine, Flow
from pushforward.solvers import assign


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    law = Pushforward(Flow([Affine(matrix, torch.tensor([1.0, -1.0]))]), Gaussian((2,)))
    x = law.sample(500, generator=generator)
    print("mean log-density", round(float(law.log_prob(x).mean()), 3))

    y = Gaussian((2,)).sample(500, generator=generator)
    found = assign(x, y)
    print(f"squared W2 of two samples {found.cost:.3f}, found by {found.method} in {1000 * found.seconds:.1f} ms")


if __name__ == "__main__":
    main()
