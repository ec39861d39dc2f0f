"""Where the isocentre is between source and detector if nothing tells (free of imports: the command line's help names
it)."""

SOURCE_TO_ISOCENTRE_SHARE = 0.7  # of the source-to-detector distance, as on common C-arms
