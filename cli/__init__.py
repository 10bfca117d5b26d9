"""The command line: each file parses one command's options, calls one pipeline function and prints."""
