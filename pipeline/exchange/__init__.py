"""Stores and flow in the forms that others read, and back.

``rows``        what every form carries: a header, and blocks of rows
``hdf5``        one HDF5 file of labels, or of flow                         the only import of h5py
``parquet``     one Parquet table of labels and statistics
``webdataset``  tar shards, a sample a row
``flow``        denseflow's JPEG folders and Middlebury's .flo
``convert``     the forms by name; whole stores and whole folders
"""

from vstats.pipeline.exchange.convert import (
    FLOW_FORMS,
    LABEL_FORMS,
    export_flow,
    export_labels,
    form_of,
    import_flow,
    import_labels,
)

__all__ = [
    "FLOW_FORMS",
    "LABEL_FORMS",
    "export_flow",
    "export_labels",
    "form_of",
    "import_flow",
    "import_labels",
]
