"""Sessions derived from a repository's history: the task is a real commit, what tools return is real content of its parent.

`change` reads git's output; `workspace` is the checkout as the session's edits change it; `reading`, `looking` and `testing` are what tools
return; `editing` turns hunks into calls; `opening` and `words` are what user and assistant say; `session` puts a trajectory together.
Nothing here touches git or a disk: corpusjobs.gitrepo and corpusjobs.fromrepo do.
"""
