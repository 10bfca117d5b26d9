"""What the kernels promise: parameter records, and the protocol that every backend fulfils."""

from dataclasses import dataclass

from vstats.kernels.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class TVL1Params:
    """Parameters of TV-L1 optical flow, with the names and defaults of OpenCV's ``DualTVL1OpticalFlow``.

    OpenCV's ``gamma``, the weight of a brightness change that is estimated beside the flow, is not among them: its
    default is 0, the papers do not have it, and no label uses it.

    Symbols are those of Sanchez Perez, Meinhardt-Llopis and Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013
    (after Zach, Pock and Bischof, DAGM 2007).

    Parameters
    ----------
    tau : float
        Time step of the dual fixed point, tau; stable up to 0.25.
    lambda_ : float
        Weight of the data term, lambda: smaller gives smoother flow.
    theta : float
        Tightness of the coupling between u and v, theta.
    nscales : int
        Pyramid levels at most, N_scales; fewer where a side would fall under 16 pixels.
    warps : int
        Warps of the second image a level, N_warps.
    epsilon : float
        The iteration of a warp ends when the mean squared change of the flow is at most epsilon squared.
    inner_iterations, outer_iterations : int
        Iterations of the dual fixed point between two median filterings, and such rounds, a warp has at most.
    scale_step : float
        Size of a level relative to the finer one, eta, in (0, 1).
    median_filtering : int
        Side of the median window applied to the flow: 1 (off), 3 or 5.

    Raises
    ------
    InputError
        A value is out of its range.
    """

    tau: float = 0.25
    lambda_: float = 0.15
    theta: float = 0.3
    nscales: int = 5
    warps: int = 5
    epsilon: float = 0.01
    inner_iterations: int = 30
    outer_iterations: int = 10
    scale_step: float = 0.8
    median_filtering: int = 5

    def __post_init__(self) -> None:
        # Within these bounds no intermediate value leaves float32.
        for name, least in (("tau", 1e-6), ("lambda_", 1e-6), ("theta", 1e-6), ("epsilon", 0.0)):
            value = getattr(self, name)
            if not least <= value <= 1e6:
                raise InputError(f"TVL1Params.{name} is {value!r}; it must be a number from {least:g} to 1e6")
        if not 0 < self.scale_step < 1:
            raise InputError(
                f"TVL1Params.scale_step is {self.scale_step!r}; it must lie strictly between 0 and 1"
            )
        for name in ("nscales", "warps", "inner_iterations", "outer_iterations"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"TVL1Params.{name} is {value!r}; it must be a whole number of at least 1")
        if self.median_filtering not in (1, 3, 5):
            raise InputError(
                f"TVL1Params.median_filtering is {self.median_filtering!r}; it must be 1 (off), 3 or 5"
            )
