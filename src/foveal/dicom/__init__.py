"""DICOM: a file's pixels as a display shows them, and whose they are without saying who.

The only room that knows pydicom, which is loaded when the first file is read.
`read` turns bytes into what their pixels need, or into a reason; `pixels` makes display values of it;
`identity` gives a patient a pseudonym; `codestream` is the guard before the decoders.
"""
