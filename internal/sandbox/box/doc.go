// Package box is what runtimes have in common that let somebody else make their containers: an engine, or a command.
//
// It promises that the host's side (what is shown of the host, who commands run as, which program is the guest) and the guest's side
// (what becomes of an image's files and of the first process) are the same for all of them. Making, finding, reaching and removing a
// container is left to the runtimes, and so is how a Boot gets from one side to the other.
package box
