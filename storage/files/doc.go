// Package files keeps bytes by slash-separated keys such as
// "vision/importAccount/0199/outbound/rejects.csv": in a folder on local disk ([Folder]) or in a
// bucket of a service that speaks S3 ([Bucket]), which are the same to whoever uses a [Store].
//
// It owns the shape of a key, the way a file appears, what a crash may leave, and how damage is
// found. A key names a whole file or none, and a file under a key is never changed in place, only
// replaced. A file that grows over several requests ([Growth]) has its key when it is finished.
//
// In a folder a file is written under a temporary name in .incoming, made durable, and only then
// renamed to its key; what a crash leaves is there, where [Folder.Sweep] finds it. Hard links are safe
// copies. Folders exist for as long as something is in them. Nothing outside the folder is ever
// reached, and no symbolic link inside it is followed: keys are checked before use, and every folder
// on the way is opened by handle and compared with what its name said (see [Folder.walk]).
//
// In a bucket a file is an object, put whole or in parts; what a crash leaves is an unfinished
// multipart upload, which a rule of the bucket removes.
//
// A file that grows is in .growing until it is finished: all of it in a folder, in a bucket the bytes
// that do not fill a part. What stays there of one that nobody knows of, SweepGrowing finds.
//
// While bytes are taken in, a [Digest] of them is made: the SHA-256 of all, for people, and a
// checksum of each MiB, with which [Verify] finds damage before a wrong byte reaches anybody.
//
// Left to others: what the keys mean, who may read them, when they are removed, and what is in the
// files.
package files
