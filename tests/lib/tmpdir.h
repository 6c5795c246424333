/*
 * tmpdir: a folder of its own for a test, removed at the end.
 */
#pragma once

/* Make one below $TMPDIR or /tmp; aborts on failure. The text is the caller's
 * to free by tmpdir_remove(). */
char *tmpdir_make(void);

/* DIR + "/" + NAME; free() it. */
char *tmpdir_path(const char *dir, const char *name);

/* Remove DIR with all that is in it (no mounts are crossed), and free it. */
void tmpdir_remove(char *dir);
