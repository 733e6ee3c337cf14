"""A text that a page, a terminal and a comment must not obey."""

HOSTILE = (
    "</title><script>window.scripted=1</script><img src=x onerror=window.scripted=1>\"' onload=x &lt;/svg>"
    "\u202e\x1b[31m\x00|`*_@root #1 www.x.example GH-1 \U0001f600"
)
