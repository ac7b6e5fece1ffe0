#ifndef SANDGATE_VFS_H
#define SANDGATE_VFS_H

/* Binds a path below /sandgate/ to a descriptor. An empty path adds a spare,
   which a later creating open takes. Returns 0, or -1 when the table is full. */
int sandgate_vfs_bind(const char *path, int fd, int writable);

#endif
