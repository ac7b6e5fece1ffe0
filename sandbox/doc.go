// Package sandbox runs untrusted work in one-job worker processes.
//
// A worker is the gateway's own executable started twice: the first stage builds
// the jail around its single thread (namespaces, empty root, resource limits, no
// capabilities, no_new_privs, Landlock) and executes the second stage inside it,
// so every thread of the second stage inherits the jail. The second stage warms
// its handler up, seals itself with a seccomp allow-list and waits for one job.
// The parent checks the sealed process from outside before it sends anything.
//
// A worker holds no key and no network, and of the file system at most the
// shared libraries of its own executable. A job's files arrive as descriptors;
// results leave as length-capped frames. Whatever happens to a worker, its
// caller learns a Cause and nothing else: no text a worker wrote ever leaves
// this package.
//
// Linux only; the full tier needs user namespaces, Landlock and seccomp on amd64.
package sandbox
