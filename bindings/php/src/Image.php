<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Tools\Source;

/**
 * An image for a tool to return: PNG, JPEG, GIF or WebP.
 *
 *     fn (): Antenv\Image => new Antenv\Image(path: 'chart.png')
 */
final class Image implements \JsonSerializable
{
    /** @var array<string, mixed> The image as a block of a tool's result. */
    public readonly array $block;

    /**
     * Makes a block. Give one of `data`, `path`, `url` and `fileID`.
     *
     * @param string|null $data The image's bytes.
     * @param string|null $path Its file, which is read at once.
     * @param string|null $url Its address.
     * @param string|null $fileID The identifier of an uploaded file (`file_...`).
     * @param string|null $mediaType Such as "image/png". Without it: what the first bytes say.
     *
     * @throws \InvalidArgumentException None or several of them are given, the file cannot be read, or the bytes are
     *     none of such an image.
     */
    public function __construct(
        ?string $data = null,
        ?string $path = null,
        ?string $url = null,
        ?string $fileID = null,
        ?string $mediaType = null,
    ) {
        $bytes = Source::bytes($data, $path, $url, $fileID);
        $source = $bytes === null
            ? Source::elsewhere($url, $fileID)
            : Source::base64($bytes, $mediaType ?? Source::imageType($bytes));
        $this->block = ['type' => 'image', 'source' => $source];
    }

    /** @return array<string, mixed> */
    public function jsonSerialize(): array
    {
        return $this->block;
    }
}
