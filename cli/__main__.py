"""`python -m vstats.cli`."""

from vstats.cli.main import main

if __name__ == "__main__":
    main()
