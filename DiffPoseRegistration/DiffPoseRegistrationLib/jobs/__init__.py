"""Background work that cannot lose anything: a job is a folder.

Whoever holds the folder can see what was asked, how far it got and what came out, also after a crash::

    job.json        what was asked (``description``)
    events.jsonl    what happened, one typed JSON object a line (``events``)
    stop            made by whoever wants the job to stop
    lock            held by the operating system while a worker lives (``lock``)
    checkpoint/     the last two complete states (``checkpoint``)
    input/          files made for this job alone
    result/         what came out, each file renamed into place when whole
    preview.*       the newest picture for a live display
    worker.log      everything else that the worker printed

``worker`` does the work in its own process, ``launcher`` starts and stops that process for a panel or a
shell, ``command`` lists, shows, resumes, cancels and cleans. Standard library only; the heavy work is
in ``workflow.tasks``, which nothing but the worker imports.
"""
