"""Everything with a file, a process or a network in it: manifests, decoding, planning, execution, the store."""
