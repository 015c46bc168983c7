# A bucket that keeps every version, lets nobody in from outside, and takes nothing in clear or under a stranger's key.

resource "aws_s3_bucket" "this" {
  bucket              = var.bucket
  object_lock_enabled = var.lock_mode != "none"
  tags                = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_object_lock_configuration" "this" {
  count      = var.lock_mode == "none" ? 0 : 1
  depends_on = [aws_s3_bucket_versioning.this]

  bucket = aws_s3_bucket.this.id

  rule {
    default_retention {
      mode = upper(var.lock_mode)
      days = var.lock_days
    }
  }
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "this" {
  depends_on = [aws_s3_bucket_public_access_block.this]

  bucket = aws_s3_bucket.this.id
  policy = var.policy
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  depends_on = [aws_s3_bucket_versioning.this]

  bucket = aws_s3_bucket.this.id

  rule {
    id     = "what-was-deleted"
    status = "Enabled"

    filter {
      prefix = "${var.prefix}/"
    }

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "uploads-without-an-end"
    status = "Enabled"

    filter {
      prefix = "${var.prefix}/"
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  dynamic "rule" {
    for_each = var.archive == null ? [] : var.archive.system_ids

    content {
      id     = "archive-${rule.value}"
      status = "Enabled"

      # What is large in base backups. Without WAL, history files and the repository's own objects no restore can be planned, and every look reads the records.
      filter {
        and {
          prefix                   = "${var.prefix}/${rule.value}/backups/"
          object_size_greater_than = 1048576
        }
      }

      transition {
        storage_class = var.archive.class
        days          = var.archive.after_days
      }
    }
  }
}
