// Package image turns OCI images into folders that overlayfs can stack, and keeps them in $MOAT_HOME/images.
//
// It promises that what is in the store under a digest is what that digest says, whole, whoever was killed meanwhile; that
// an archive made to harm, however it is made, changes nothing outside of its own folder and costs bounded room, memory and
// time; that an image that is there needs no network; and that the person's registry credentials go to the registry only.
// docs/images.md is the page for people, docs/formats.md describes the store.
//
// It leaves stacking the folders to the runtime, and what an image says about its command to package plan.
package image
