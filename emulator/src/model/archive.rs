//! Archives of a skill's files: zip, and tar with gzip.

use std::io::{Cursor, Write};

use flate2::{Compression, write::GzEncoder};
use zip::{ZipWriter, result::ZipError, write::SimpleFileOptions};

/// The format of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A zip file.
    Zip,
    /// A tar file in gzip.
    TarGz,
}

/// One file of an archive.
#[derive(Debug)]
pub struct File {
    /// The path in the archive: relative, with `/` between its segments.
    pub path: String,
    /// The content.
    pub content: Vec<u8>,
    /// Whether the file is executable.
    pub executable: bool,
}

impl Format {
    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Format> {
        match name {
            "zip" => Some(Format::Zip),
            "tar.gz" => Some(Format::TarGz),
            _ => None,
        }
    }

    /// Packs files in their order. Fails on a path that the format cannot hold.
    pub fn pack(self, files: &[File]) -> Result<Vec<u8>, String> {
        match self {
            Format::Zip => zip(files).map_err(|error| error.to_string()),
            Format::TarGz => tar_gz(files).map_err(|error| error.to_string()),
        }
    }
}

/// The content type of an archive, by its first bytes.
pub fn content_type(archive: &[u8]) -> &'static str {
    match archive {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => "application/zip",
        [0x1f, 0x8b, ..] => "application/gzip",
        _ => "application/octet-stream",
    }
}

impl File {
    fn mode(&self) -> u32 {
        if self.executable { 0o755 } else { 0o644 }
    }
}

fn zip(files: &[File]) -> Result<Vec<u8>, ZipError> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for file in files {
        archive.start_file(&file.path, SimpleFileOptions::default().unix_permissions(file.mode()))?;
        archive.write_all(&file.content)?;
    }
    Ok(archive.finish()?.into_inner())
}

fn tar_gz(files: &[File]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode());
        header.set_mtime(0);
        archive.append_data(&mut header, &file.path, &*file.content)?;
    }
    archive.into_inner()?.finish()
}
