"""The errors of the kernels, and the root of the whole tree.

.. code-block:: text

    VstatsError
    ├── InputError (ValueError)             an array or parameter that a kernel cannot take
    │   └── NoLabel                         a clip that the chosen profile has no label for
    ├── BackendUnavailable (ImportError)    a backend whose library or device is not there, or cannot be used
    │   └── NoDevice                        its library is not installed, or the machine has no such device
    ├── DeviceLost (RuntimeError)           a device that fails while it computes
    │   └── DeviceFull                      a device that has no memory left: less at a time may do
    └── PipelineError                       everything with a file, a process or a network in it
                                            (`vstats.pipeline.errors`)
"""


class VstatsError(Exception):
    """Whatever vstats raises on purpose."""


class InputError(VstatsError, ValueError):
    """An argument has a shape, dtype or value that cannot be computed on; the message says which and what was wanted."""


class NoLabel(InputError):
    """A clip is well formed, but the chosen profile has no label for it (`mas-released` on a clip without motion)."""


class BackendUnavailable(VstatsError, ImportError):
    """A backend was asked for whose library, driver or device is missing."""


class NoDevice(BackendUnavailable):
    """A backend's library is not installed, or the machine has no device for it: nothing is out of order."""


class DeviceLost(VstatsError, RuntimeError):
    """A device failed while it computed; nothing of what it held is kept."""


class DeviceFull(DeviceLost):
    """A device has no memory left; what it holds is whole, and less at a time may do."""
