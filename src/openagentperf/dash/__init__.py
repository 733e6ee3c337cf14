"""The dashboard: runs of a folder in a browser, live. It reads run folders and changes nothing."""
