/*
 * ops_tree: the requests about names, folders and attributes, and those for
 * files beside the disk. Part of ops.h's table.
 */
#pragma once

#include "fuse/ops.h"

void ops_tree_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_tree_getattr(fuse_req_t req, fuse_ino_t ino,
		      struct fuse_file_info *fi);
void ops_tree_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st,
		      int to_set, struct fuse_file_info *fi);
void ops_tree_opendir(fuse_req_t req, fuse_ino_t ino,
		      struct fuse_file_info *fi);
void ops_tree_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		      struct fuse_file_info *fi);
void ops_tree_readlink(fuse_req_t req, fuse_ino_t ino);
void ops_tree_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		    mode_t mode);
void ops_tree_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_tree_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_tree_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		    mode_t mode, dev_t rdev);
void ops_tree_symlink(fuse_req_t req, const char *to, fuse_ino_t parent,
		      const char *name);
void ops_tree_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
		   const char *name);
void ops_tree_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		     fuse_ino_t to_parent, const char *to, unsigned flags);

/* A file that is not the disk (ops_beside.c). */
void ops_tree_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_tree_release(struct ops_server *s, fuse_ino_t ino,
		      struct fuse_file_info *fi);
void ops_tree_read(fuse_req_t req, fuse_ino_t ino, size_t len, uint64_t off,
		   struct fuse_file_info *fi);

/* The open file of a snapshot, if INO is one. */
struct snapdir_file *ops_tree_snapshot(fuse_ino_t ino,
				       struct fuse_file_info *fi);

/* Fill E for the inode INO, whose name stays while it exists. -ENOENT. */
int ops_tree_entry(struct ops_server *s, fuse_ino_t ino,
		   struct fuse_entry_param *e);
