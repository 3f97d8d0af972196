<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Tools\Source;

/** A document for a tool to return: PDF, or text in UTF-8. */
final class Document implements \JsonSerializable
{
    /** @var array<string, mixed> The document as a block of a tool's result. */
    public readonly array $block;

    /**
     * Makes a block. Give one of `data`, `path`, `url` and `fileID`.
     *
     * @param string|null $data The document's bytes.
     * @param string|null $path Its file, which is read at once.
     * @param string|null $url Its address.
     * @param string|null $fileID The identifier of an uploaded file (`file_...`).
     * @param string|null $title The document's title.
     * @param string|null $context What the agent should know about it.
     * @param string|null $mediaType "application/pdf" or "text/plain". Without it: what the first bytes say.
     *
     * @throws \InvalidArgumentException None or several of them are given, the file cannot be read, or the bytes are
     *     neither PDF nor text in UTF-8.
     */
    public function __construct(
        ?string $data = null,
        ?string $path = null,
        ?string $url = null,
        ?string $fileID = null,
        ?string $title = null,
        ?string $context = null,
        ?string $mediaType = null,
    ) {
        $bytes = Source::bytes($data, $path, $url, $fileID);
        if ($bytes === null) {
            $source = Source::elsewhere($url, $fileID);
        } elseif ($mediaType === 'text/plain' || ($mediaType === null && !str_starts_with($bytes, '%PDF'))) {
            $source = Source::text($bytes);
        } else {
            $source = Source::base64($bytes, $mediaType ?? 'application/pdf');
        }
        $more = array_filter(['title' => $title, 'context' => $context], static fn (?string $one): bool => $one !== null);
        $this->block = ['type' => 'document', 'source' => $source, ...$more];
    }

    /** @return array<string, mixed> */
    public function jsonSerialize(): array
    {
        return $this->block;
    }
}
