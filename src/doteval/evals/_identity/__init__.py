"""What results depend on, as fingerprints by name, so that none is taken for that of something else.

The parts::

    ops      instructions, each with where in the source it stands
    uses     what code writes, and what it reads of what
    code     what a function does, which names it reads, and which it writes
    library  whose code it is: the user's, or that of an installed package
    hints    annotations that code makes
    annotations  what texts in annotations stand for
    looks    single values, functions and classes
    silence  no warnings meanwhile
    aliases  types that are made of others
    places   where something is within what has a name
    beside   what containers and models of packages hold besides what they show
    state    what is written, and so does not count
    statements, beginnings  how what is written begins, as it stands in source texts
    checkout where in the project of the user lies what texts name
    registries  what is entered where something is made, and not read
    callables  what can be called is, and says of itself
    values   what a value is, and what it is looked into for
    told     what is read of what is handed over
    use, containers  what code is run for, and whether names of methods are those of containers
    methods  which methods can be run
    reach    which code can be run: all of it is known before anything is described
    parts    what has a name gets a fingerprint of its own, and what may be written is set aside
    walk     a value, and all that it refers to, each with a fingerprint
"""
