"""The headless tool: ``diffpose simulate | prepare | register | evaluate | info | jobs`` and the demonstration."""
