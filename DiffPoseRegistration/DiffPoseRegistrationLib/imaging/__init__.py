"""CT volumes and X-rays: values, readers, intensity. Files and other programs' conventions end here."""
