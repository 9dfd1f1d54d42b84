"""The training commands of ``otic``, a file each."""
