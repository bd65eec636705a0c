// Package files keeps the bytes of uploads, inputs and outputs in one rooted
// folder on local disk, addressed by slash-separated keys such as
// "vision/importAccount/0199/outbound/rejects.csv".
//
// It owns the shape of a key, the way a file appears, and what a crash may
// leave. A file is written under a temporary name in [Incoming], made durable,
// and only then renamed to its key, so a key names a whole file or none. What a
// crash leaves is therefore always in Incoming, where [Folder.Sweep] finds it.
// A file under a key is never changed in place, only replaced, so hard links
// are safe copies. Folders exist for as long as something is in them.
//
// Nothing outside the folder is ever reached, and no symbolic link inside it is
// followed: keys are checked before use, and every folder on the way is opened
// by handle and compared with what its name said (see [Folder.walk]).
//
// Left to others: what the keys mean, who may read them, when they are removed,
// and what is in the files.
package files
